"""The search in a run folder: read as written, pooled over members, and no number of an untrusted one is believed."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from strokelab.data import read_cases
from strokelab.errors import StrokelabError
from strokelab.inference.postprocess import tuned
from strokelab.inference.tune import MEASURES, Found, Search, best_pair
from strokelab.runs import load_ensemble, load_run, settings_digest
from strokelab.runs.tuning import filled, filled_of_all, read_found, read_pair, write_found
from strokelab.scoring.kept import KeptRun, forget

NODE = {"_target_": "strokelab.inference.postprocess.tuned", "_partial_": True, "threshold": None, "min_voxels": None}
NODE |= {"thresholds": [0.3, 0.5], "sizes": [1, 20]}
SEARCH = Search((0.3, 0.5), (1, 20))


def a_search(dice: dict[str, list[float]]) -> Found:
    """Cases with their Dice at the four pairs; a distance of 10 voxels, none where Dice is 0."""
    rows = [
        {"case": case, "threshold": threshold, "min_voxels": size, **dict.fromkeys(MEASURES, value)}
        | dict.fromkeys(("hd_voxels", "hd_mm"), 10.0 if value else np.nan)
        for case, values in dice.items()
        for (threshold, size), value in zip([(0.3, 1), (0.3, 20), (0.5, 1), (0.5, 20)], values, strict=True)
    ]
    table = pd.DataFrame(rows)
    return Found(SEARCH, table, best_pair(table, SEARCH), tested=True)


ONE, OTHER = a_search({"=a": [0, 0.7, 0.1, 0.2], "b": [0.1] * 4}), a_search({"c": [0.2, 0.3, 0.8, 0.2]})


def test_read_as_written(tmp_path):
    write_found(tmp_path, ONE, "digest")
    found = read_found(tmp_path, SEARCH)
    pd.testing.assert_frame_equal(found.table, ONE.table, check_dtype=False)
    assert (found.pair, found.tested) == (ONE.pair, True)
    assert read_pair(tmp_path, SEARCH, "digest") == ONE.pair
    assert read_pair(tmp_path, SEARCH, "other weights") is None
    assert read_pair(tmp_path, Search((0.3, 0.5), (1, 30))) is None
    assert (filled(NODE, tmp_path)["threshold"], filled(NODE, tmp_path)["min_voxels"]) == (0.3, 20)


def test_the_pair_of_several_searches_is_that_of_all_their_cases(tmp_path):
    for name, found in (("a", ONE), ("b", OTHER)):
        (tmp_path / name).mkdir()
        write_found(tmp_path / name, found, "")
    node = filled_of_all(NODE, [tmp_path / "a", tmp_path / "b"])
    assert (node["threshold"], node["min_voxels"]) == (0.3, 20)  # mean Dice 1.1 / 3 against 1.0 / 3
    (tmp_path / "c").mkdir()
    with pytest.raises(StrokelabError):
        filled_of_all(NODE, [tmp_path / "a", tmp_path / "c"])


def with_node(run, node):
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"postprocess": node}))
    return run


def test_a_run_predicts_with_its_own_pair_and_the_mean_with_that_of_all(trained_run, trained_unet, tmp_path):
    folders = []
    for source, found in ((trained_run, ONE), (trained_unet, OTHER)):
        folders.append(with_node(shutil.copytree(source, tmp_path / source.name), NODE))
        with pytest.raises(StrokelabError):
            load_run(folders[-1]).predict_prepared(None)
        write_found(folders[-1], found, "")
    nodes = [load_run(folder).postprocess_node for folder in folders]
    assert [(node["threshold"], node["min_voxels"]) for node in nodes] == [(0.3, 20), (0.5, 1)]
    ensemble = load_ensemble(folders)
    pooled = json.loads(ensemble.provenance["postprocess"])
    probability = np.random.default_rng(0).random((5, 6, 7))
    pair = {name: pooled[name] for name in ("threshold", "min_voxels")}
    np.testing.assert_array_equal(ensemble.postprocess(probability), tuned(probability, **pair))


def test_scores_that_are_kept_are_the_scores(trained_run, t1_cohort, tmp_path, monkeypatch):
    run = load_run(trained_run)
    prepared = run.forms_of(read_cases("atlas_v1", t1_cohort)[0])[run.preparation_of]
    expected = run.average({run.preparation_of: prepared})
    kept, later = KeptRun.of(run, tmp_path), KeptRun.of(run, tmp_path)
    first = kept.average({kept.preparation_of: prepared})
    monkeypatch.setattr(type(run), "scores", None)
    again = later.average({later.preparation_of: prepared})
    for scores in (first, again):
        np.testing.assert_array_equal(scores.values, expected.values)
        assert (scores.kind, scores.lesion_channel, scores.native) == ("probabilities", expected.lesion_channel, False)
    forget(tmp_path)
    assert not list(tmp_path.iterdir())


def test_cases_that_test_count_where_they_choose():
    def digests(*words: str) -> set[str]:
        return {settings_digest({"run_dir": "r", "data": {"curves": one}, "postprocess": NODE}) for one in words}

    assert len(digests("validation", "held_out")) == 1
    assert len(digests("validation", "held_out_selects")) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.4},
        {"threshold": "0.3"},
        {"threshold": None},
        {"min_voxels": 10**12},
        {"min_voxels": -1},
        {"score": float("nan")},
        {"score": 2},
        {"cases": [1]},
        {"undefined": -1},
    ],
)
def test_a_pair_that_no_search_of_ours_wrote_is_refused(tmp_path, change):
    write_found(tmp_path, ONE, "")
    content = json.loads((tmp_path / "tuning.json").read_text())
    (tmp_path / "tuning.json").write_text(json.dumps(content | change))
    with pytest.raises(StrokelabError):
        read_pair(tmp_path, SEARCH)


@pytest.mark.parametrize(
    "table",
    [
        "",
        "case,threshold\n",
        "\x00\xff",
        ["a", 0.3, 1, 1.5, 0, 0, 1, 1],  # Dice above 1
        ["a", 0.3, 1, 0.5, 0, 0, -1, 1],
        ["a", 0.3, 1, 0.5, 0, 0, "inf", 1],
        ["a", 0.3, 1, "=cmd|'/C calc'!A0", 0, 0, 1, 1],
        ["a", 0.3, 1, "", 0, 0, 1, 1],
        ["a", 0.4, 1, 0.5, 0, 0, 1, 1],  # a threshold that was not tried
        ["", 0.3, 1, 0.5, 0, 0, 1, 1],
        None,  # a pair is missing
        "twice",
    ],
)
def test_a_table_that_no_search_of_ours_wrote_is_refused(tmp_path, table):
    write_found(tmp_path, a_search({"a": [0.5] * 4}), "")
    path = tmp_path / "tuning.csv"
    lines = path.read_text().splitlines()
    if isinstance(table, list):
        lines[1] = ",".join(map(str, table))
    elif table == "twice":
        lines[2] = lines[1]
    path.write_text("\n".join(lines if isinstance(table, list) or table == "twice" else lines[:-1]))
    if isinstance(table, str) and table != "twice":
        path.write_bytes(table.encode("latin-1"))
    with pytest.raises(StrokelabError):
        read_found(tmp_path, SEARCH)
    assert read_pair(tmp_path, SEARCH), "the pair stands by itself"


def test_words_of_an_untrusted_table_are_harmless(tmp_path):
    write_found(tmp_path, a_search({"=HYPERLINK(1)": [0.5] * 4}), "")
    path = tmp_path / "tuning.csv"
    assert "'=HYPERLINK" in path.read_text()
    path.write_text(path.read_text().replace("HYPERLINK", "\x1b]0;owned\x07"))
    assert "\x1b" not in read_found(tmp_path, SEARCH).table["case"][0]
    (tmp_path / "tuning.json").write_text("[1]")
    with pytest.raises(StrokelabError):
        read_pair(tmp_path, SEARCH)
