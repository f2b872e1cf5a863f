"""Caches are found by our names, measured, and removed without touching anything else."""

import pytest

from strokelab.data import read_cases
from strokelab.errors import ConfigError
from strokelab.files import locked
from strokelab.preparation.caches import caches_of, cleared
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore

KEY = "0123456789abcdef" * 2


def file(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def sizes(store, *kinds):
    return {cache.name: (cache.entries, cache.bytes) for cache in caches_of(store, kinds)}


def test_each_kind_is_counted_and_removed_alone(tmp_path):
    file(tmp_path / "01" / KEY / "image.npy", 100)
    file(tmp_path / "tissues" / "01" / KEY / "maps.raw", 30)
    file(tmp_path / "scores" / "01" / KEY / "cases.csv", 20)
    file(tmp_path / "models" / (KEY * 2) / "runs" / "m" / "config.yaml", 4)  # of an earlier version
    file(tmp_path / "models" / f"my.model_2-{KEY[:16]}" / "runs" / "m" / "config.yaml", 3)
    file(tmp_path / "digests" / "01" / f"{KEY}.json", 5)
    mine = [file(tmp_path / name, 1) for name in ("notes.txt", "01/own.txt", "models/mine/x", "scores/01/short/x")]
    (tmp_path / "02").mkdir()
    outside = file(tmp_path.parent / "outside" / "x", 1)
    (tmp_path / "02" / KEY).symlink_to(outside.parent)
    everything = {"prepared": (1, 100), "tissues": (1, 30), "scores": (1, 20), "models": (2, 7), "digests": (1, 5)}
    assert sizes(tmp_path) == everything
    assert cleared(caches_of(tmp_path, ["models"])) == 7
    assert sizes(tmp_path) == everything | {"models": (0, 0)}
    assert cleared(caches_of(tmp_path)) == 155
    assert all(path.is_file() for path in (*mine, outside))
    assert (tmp_path / "02" / KEY).is_symlink()


def test_what_is_written_at_this_moment_stays(tmp_path):
    file(tmp_path / "01" / KEY / "image.npy", 100)
    with locked(tmp_path / "locks" / f"{KEY}.lock"):
        assert cleared(caches_of(tmp_path)) == 0
    assert cleared(caches_of(tmp_path)) == 100


def test_a_real_store_is_known_and_made_again(t1_cohort, tmp_path):
    cases = read_cases("atlas_v1", t1_cohort)[:2]
    store = PreparedStore(tmp_path / "store")
    before = [case.load().image.sum() for case in store.prepare(cases, Preparation(("T1w",)), progress=False)]
    found = sizes(store.folder)
    assert found["prepared"][0] == 2
    assert cleared(caches_of(store.folder)) == sum(size for _, size in found.values())
    assert set(sizes(store.folder).values()) == {(0, 0)}
    after = [case.load().image.sum() for case in store.prepare(cases, Preparation(("T1w",)), progress=False)]
    assert before == after


def test_an_unknown_kind_and_an_absent_store(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="prepared, tissues, scores, models, digests"):
        caches_of(tmp_path, ["everything"])
    with pytest.raises(ConfigError, match="no folder"):
        caches_of(tmp_path / "absent")
    monkeypatch.setenv("STROKELAB_STORE", str(tmp_path / "absent"))
    assert {cache.entries for cache in caches_of()} == {0}  # nothing was prepared yet
