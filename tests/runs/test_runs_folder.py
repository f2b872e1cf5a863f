"""Claiming, replacing, erasing and moving run folders."""

import json

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from strokelab import runs
from strokelab.configuration import compose
from strokelab.data.splits import Split
from strokelab.errors import DataError, RunError
from strokelab.runs.checkpoints import relocate, relocate_checkpoint
from strokelab.runs.folder import remove_empty
from strokelab.training.start import start_of

SETTINGS = {"model": {"_target_": "x"}, "view": {}, "postprocess": {}, "cohort": {}, "name": "ü"}
SPLIT = Split(("a", "b"), ("c",), ("d",), {"a": ("A", "Site1"), "b": ("B", ""), "c": ("C", "S"), "d": ("D", "T")})


def start(folder):
    runs.write_start(folder, SETTINGS, SPLIT, {"Site1": 0})
    return folder


def test_what_is_written_at_the_start_can_be_read(tmp_path):
    folder = start(tmp_path / "run")
    assert runs.read_settings(folder) == SETTINGS
    assert runs.read_split(folder) == SPLIT
    assert runs.read_split(folder).about["a"] == ("A", "Site1")
    assert json.loads((folder / runs.SITES).read_text()) == {"Site1": 0}
    assert runs.read_status(folder)["state"] == "running"
    environment = json.loads((folder / runs.ENVIRONMENT).read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0] or environment["packages"]["torch"]
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "split.csv", "sites.json", "environment.json", "status.json", "checkpoints"}  # fmt: skip


def test_status_tells_the_end_and_survives_damage(tmp_path):
    assert runs.read_status(tmp_path) == {"state": "unknown"}
    runs.write_status(tmp_path, "failed", error="ValueError: x")
    assert runs.read_status(tmp_path)["error"] == "ValueError: x"
    for damage in ("", "{", "[]", "null", '"text"', "{}"):
        (tmp_path / runs.STATUS).write_text(damage)
        assert runs.read_status(tmp_path) == {"state": "unknown"}


def test_a_claim_that_came_to_nothing_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), runs.claimed(tmp_path / "a" / "b" / "run"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with runs.claimed(tmp_path / "a" / "run"):
        (tmp_path / "a" / "run" / "file").write_text("")
    assert [path.name for path in (tmp_path / "a" / "run").iterdir()] == ["file"]
    with runs.claimed(tmp_path / "a" / "run"):
        pass
    assert (tmp_path / "a" / "run" / "file").exists()


def test_what_a_killed_training_left_half_written_is_swept_up(tmp_path):
    folder = start(tmp_path / "run")
    litter = [folder / ".4f290790-status.json", folder / "checkpoints/.0123abcd-last.ckpt"]
    litter += [folder / "checkpoints/.a49a2900-.last.ckpt.part"]
    others = [folder / ".4f290790-mine.txt", folder / ".hidden", folder / "status.json"]
    for path in (*litter, *others):
        path.write_text("x")
    with runs.claimed(folder):
        assert not any(path.exists() for path in litter)
    assert all(path.exists() for path in others)


def test_a_folder_is_claimed_once(tmp_path):
    with runs.claimed(tmp_path / "run"):
        with pytest.raises(RunError, match="another training"), runs.claimed(tmp_path / "run"):
            pass
        with pytest.raises(RunError, match="another training"), runs.claimed(tmp_path / "run"):
            pass  # the first refusal took nothing away
    with runs.claimed(tmp_path / "run"):
        pass


def test_a_place_below_a_file_cannot_be_claimed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"), runs.claimed(tmp_path / "file" / "run"):
        pass


def test_what_may_be_replaced(tmp_path):
    runs.refuse_to_replace(tmp_path / "absent")
    folder = start(tmp_path / "run")
    runs.refuse_to_replace(folder)  # killed before its first checkpoint: nothing is lost
    (folder / "checkpoints/last.ckpt").write_bytes(b"x")
    for state in ("running", "killed", "failed"):
        runs.write_status(folder, state)
        with pytest.raises(RunError, match="resume="):
            runs.refuse_to_replace(folder)
    runs.write_status(folder, "finished")
    runs.refuse_to_replace(folder)
    (folder / runs.STATUS).unlink()
    with pytest.raises(RunError, match=r"config\.yaml"):
        runs.refuse_to_replace(folder)


def test_a_finished_run_is_replaced_by_its_own_settings_alone(tmp_path):
    folder = tmp_path / "run"
    command = ["data.root=/cohort", f"run_dir={folder}", "model=unet2d"]
    asked = start_of(compose("train", command))
    runs.write_start(folder, asked.settings | {"cohort": {}}, SPLIT, {}, digest=asked.digest)
    runs.write_status(folder, "finished")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert start_of(compose("train", command)).digest == asked.digest
    with pytest.raises(RunError, match=r"model\.network\.base|base") as refused:
        start_of(compose("train", [*command, "model.network.base=8"]))
    assert refused.value.remedy.endswith(f"resume={folder}")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_erasing_takes_our_files_only(tmp_path):
    folder = start(tmp_path / "run")
    (folder / "checkpoints/last.ckpt").write_bytes(b"x")
    (folder / "checkpoints/notes.md").write_text("mine")
    (folder / "thesis.tex").write_text("mine")
    runs.erase(folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "checkpoints/notes.md",
        "thesis.tex",
    ]
    runs.erase(tmp_path / "absent")


def test_only_empty_folders_are_removed(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "void").mkdir()
    remove_empty(tmp_path / "full", tmp_path / "void", tmp_path / "absent")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("name", ["model", "view", "postprocess", "cohort"])
def test_a_config_without_a_section_is_no_run(name, tmp_path):
    (tmp_path / runs.CONFIG).write_text(yaml.safe_dump({k: v for k, v in SETTINGS.items() if k != name}))
    with pytest.raises(RunError, match=name):
        runs.read_settings(tmp_path)


def test_a_missing_split_and_a_damaged_one(tmp_path):
    with pytest.raises(RunError, match=r"split\.csv"):
        runs.read_split(tmp_path)
    (tmp_path / runs.SPLIT).write_text("nonsense\n")
    with pytest.raises(DataError, match=r"split\.csv"):
        runs.read_split(tmp_path)


def test_checkpoints_by_name_and_by_path(tmp_path):
    folder = start(tmp_path / "run")
    with pytest.raises(RunError, match="no checkpoint yet"):
        runs.find_checkpoint(folder, "last")
    for name in ("last.ckpt", "epoch=3.ckpt"):
        (folder / "checkpoints" / name).write_bytes(b"")
    assert runs.find_checkpoint(folder, "last").name == "last.ckpt"
    assert runs.find_checkpoint(folder, "epoch=3.ckpt").name == "epoch=3.ckpt"
    assert runs.find_checkpoint(folder, "epoch=3").name == "epoch=3.ckpt"
    elsewhere = tmp_path / "mine.ckpt"
    elsewhere.write_bytes(b"")
    assert runs.find_checkpoint(folder, str(elsewhere)) == elsewhere
    with pytest.raises(RunError, match=r"\['epoch=3\.ckpt', 'last\.ckpt'\]"):
        runs.find_checkpoint(folder, "best")


def test_paths_move_with_their_folder_and_nothing_else_does():
    node = {"a": "/old/run", "b": ["/old/run/checkpoints", "/old/running", "run", "/old"], "/old/run/x": 3, "c": None}
    assert relocate(node, "/old/run", "/new") == {
        "a": "/new", "b": ["/new/checkpoints", "/old/running", "run", "/old"], "/new/x": 3, "c": None}  # fmt: skip


plain = st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner) | st.dictionaries(
    st.text(max_size=4), inner), max_leaves=8)  # fmt: skip


@given(plain)
def test_moving_nowhere_changes_nothing(node):
    assert relocate(node, "/a", "/a") == node


def test_checkpoints_remember_the_new_place(tmp_path):
    path = tmp_path / "last.ckpt"
    weights = {"w": torch.arange(3.0)}
    torch.save({"state_dict": weights, "callbacks": {"Best": {"dirpath": "/old/c", "score": torch.tensor(1.0)}}}, path)
    relocate_checkpoint(path, "/old", "/new place")
    content = runs.read_checkpoint(path)
    assert content["callbacks"]["Best"]["dirpath"] == "/new place/c"
    assert content["callbacks"]["Best"]["score"] == 1.0
    assert torch.equal(content["state_dict"]["w"], weights["w"])
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_as_a_run_error(content):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ckpt"
        path.write_bytes(content)
        with pytest.raises(RunError):
            runs.read_checkpoint(path)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("place", ["_erase", "make_folder", "write_settings"])
@pytest.mark.parametrize("before", ["nothing", "a finished run"])
def test_a_start_killed_anywhere_may_be_started_again(place, before, monkeypatch, tmp_path):
    """Found by ``benchmarks/kills.py``: settings without a status were taken for somebody else's."""
    folder = tmp_path / "run"
    if before != "nothing":
        start(folder)
        runs.write_status(folder, "finished")

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"strokelab.runs.folder.{place}", kill)
        with pytest.raises(Killed):
            start(folder)
    assert runs.read_status(folder)["state"] == "running"
    runs.refuse_to_replace(folder)
    start(folder)
    assert runs.read_settings(folder) == SETTINGS
