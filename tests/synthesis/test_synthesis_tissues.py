"""Tissue maps from files, the template and phantoms: what is derived, refused, stored and held out."""

import pickle

import numpy as np
import pytest
from tissue_sets import GRID, MM, brain, fractions, skull, write, write_channels

from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.nifti import write_volume
from strokelab.synthesis.anatomy_store import DESCRIPTION
from strokelab.synthesis.fractions import four_tissues, one_hot
from strokelab.synthesis.tissues import TissueMaps


def sets(root, store, part="train", seed=0, **settings):
    return TissueMaps(str(root), **{"spacing": MM, **settings}).anatomies(part, seed, store=store)


def only(root, store, **settings):
    (anatomy,) = sets(root, store, **settings)
    return anatomy


def named(anatomy, channel):
    return anatomy.maps[anatomy.channels.index(channel)]


def test_partial_volume_is_what_both_claim():
    one = np.ones((1, 1, 1), dtype=np.float32)
    tissues = four_tissues({"GM": 0.5 * one, "WM": 0.3 * one}, np.ones((1, 1, 1), dtype=bool))
    # c = 0.2, pv = 0.6, g = 0.2, w = 0: they sum to 1 as they are
    np.testing.assert_allclose(tissues.ravel(), [0.2, 0.0, 0.6, 0.2], atol=1e-6)


def test_tissues_sum_to_what_further_classes_leave():
    one = np.ones((1, 1, 1), dtype=np.float32)
    given = {"GM": 0.4 * one, "WM": 0.0 * one, "CSF": 0.1 * one, "skull": 0.25 * one}
    tissues = four_tissues(given, np.ones((1, 1, 1), dtype=bool))
    np.testing.assert_allclose(tissues.ravel(), [0.6, 0.0, 0.0, 0.15], atol=1e-6)


def test_files_of_single_classes(tmp_path):
    write(tmp_path / "maps", "a", fractions() | {"brain": brain(), "skull": skull()})
    anatomy = only(tmp_path / "maps", tmp_path / "store")
    assert (anatomy.name, anatomy.channels) == ("a", ("GM", "WM", "PV", "CSF", "skull"))
    assert anatomy.maps.dtype == np.float32
    np.testing.assert_array_equal(anatomy.brain, brain())
    grey, white, fluid = fractions().values()
    np.testing.assert_allclose(named(anatomy, "PV"), 2 * np.minimum(grey, white), atol=1e-6)
    np.testing.assert_allclose(named(anatomy, "GM"), grey - np.minimum(grey, white), atol=1e-6)
    np.testing.assert_allclose(named(anatomy, "CSF"), fluid, atol=1e-6)
    np.testing.assert_array_equal(named(anatomy, "skull"), skull())
    assert anatomy.grid.matches(GRID)


@pytest.mark.parametrize("layout", ["folder", "sub-folder", "table"])
def test_one_file_of_several_channels(layout, tmp_path):
    grey, white, fluid = fractions().values()
    half = np.float32(0.5)
    maps = [half * grey, half * white, half * (grey + white), fluid, skull()]
    file = tmp_path / "maps" / ("s1/c.nii.gz" if layout == "sub-folder" else "s1.nii.gz")
    write_channels(file, maps)
    write_volume(file.with_name(file.name.replace(".nii", "_brain.nii")), brain().astype(np.uint8), GRID)
    root = tmp_path / "maps"
    if layout == "table":
        root = tmp_path / "maps" / "sets.csv"
        root.write_text("set,tissues,brain\ns1,s1.nii.gz,s1_brain.nii.gz\n")
    anatomy = only(root, tmp_path / "store")
    assert anatomy.name == ("s1/c" if layout == "sub-folder" else "s1")
    assert anatomy.channels == ("GM", "WM", "PV", "CSF", "class5")
    np.testing.assert_array_equal(anatomy.maps, np.stack(maps))  # all four were given: they stay


def test_channels_bear_the_names_of_the_order(tmp_path):
    grey, white, fluid = fractions().values()
    write_channels(tmp_path / "maps" / "a.nii.gz", [1 - grey - white - fluid, fluid, white, grey])
    anatomy = only(tmp_path / "maps", tmp_path / "store", order=["background", "CSF", "WM", "GM"])
    assert anatomy.channels == ("GM", "WM", "PV", "CSF")
    total = named(anatomy, "WM") + named(anatomy, "PV") / 2
    np.testing.assert_allclose(total[brain()], white[brain()], atol=1e-6)


@pytest.mark.parametrize("bids", [False, True])
def test_integer_labels_are_one_hot_without_partial_volume(bids, tmp_path):
    labels = np.where(brain(), 1, 9).astype(np.float32)
    labels[brain() & (fractions()["WM"] > 0.4)] = 2
    labels[0] = 0
    if bids:
        maps = {f"label-{name}_probseg": labels == value for name, value in (("GM", 1), ("WM", 2), ("skull", 9))}
        write(tmp_path / "maps", "sub-1", maps | {"label-CSF_probseg": 0 * labels, "label-PV_probseg": 0 * labels})
    else:
        write(tmp_path / "maps", "sub-1", {"labels": labels})
    legend = {1: "GM", 2: "WM", 3: "CSF", 9: "skull"}
    anatomy = only(tmp_path / "maps", tmp_path / "store", legend=legend)
    assert (anatomy.name, anatomy.channels) == ("sub-1", ("GM", "WM", "PV", "CSF", "skull"))
    for name, value in (("GM", 1), ("WM", 2), ("skull", 9)):
        np.testing.assert_array_equal(named(anatomy, name), labels == value)
    assert not named(anatomy, "PV").any()
    np.testing.assert_array_equal(anatomy.brain, (labels == 1) | (labels == 2))


def test_labels_of_one_class_are_united(tmp_path):
    labels = np.array([2, 41, 3, 0, 77], dtype=np.float32).reshape(5, 1, 1)
    legend = {2: "WM", 41: "WM", 3: "GM", 77: "background"}
    maps = one_hot(labels, legend, tmp_path)
    assert list(maps) == ["GM", "WM", "PV", "CSF"]
    np.testing.assert_array_equal(maps["WM"].ravel(), [1, 1, 0, 0, 0])


def nan(maps):
    maps["GM"][5, 5, 5] = np.nan


def negative(maps):
    maps["WM"][5, 5, 5] = -0.2


def too_much(maps):
    maps["CSF"] += 0.2


def no_brain(maps):
    maps["brain"] = np.zeros(GRID.shape)


def elsewhere(maps):
    maps |= {name: np.roll(values, 9, axis=1) for name, values in maps.items()}
    maps["brain"] = np.roll(brain(), 9, axis=1)


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        (nan, "GM", ["1 voxels"]),
        (negative, "WM", ["-0.2"]),
        (too_much, "CSF", ["CSF + GM + WM", "1.2"]),
        (no_brain, "brain", []),
        (elsewhere, "brain", ["Dice"]),
    ],
)
def test_unsound_maps_are_errors_by_name(spoil, file, words, tmp_path):
    maps = fractions()
    spoil(maps)
    write(tmp_path / "maps", "a", maps)
    with pytest.raises(DataError) as caught:
        only(tmp_path / "maps", tmp_path / "store")
    assert f"a_{file}" in caught.value.where
    assert all(word in caught.value.found for word in words)


def test_maps_on_two_grids_and_outside_mni_are_errors_with_both(tmp_path):
    other = Grid.of(GRID.shape, GRID.matrix + np.array([[0, 0, 0, 3]] + [[0] * 4] * 3))
    write(tmp_path / "two", "a", {"GM": fractions()["GM"]})
    write(tmp_path / "two", "a", {"WM": fractions()["WM"]}, other)
    with pytest.raises(DataError) as caught:
        only(tmp_path / "two", tmp_path / "store")
    assert "a_WM" in caught.value.where
    assert GRID.describe() in caught.value.expected
    assert other.describe() in caught.value.found
    for name, place in (("far", [200, 0, 0]), ("tilted", None)):
        matrix = GRID.matrix.copy()
        if place:
            matrix[:3, 3] += place
        else:
            matrix[0, 1] = 1.0
        write(tmp_path / name, "a", fractions(), Grid.of(GRID.shape, matrix))
        with pytest.raises(DataError) as caught:
            only(tmp_path / name, tmp_path / "store")
        assert Grid.of(GRID.shape, matrix).describe() in caught.value.found


@pytest.mark.parametrize(
    ("files", "settings", "words"),
    [
        ({}, {}, []),
        ({"GM": "map"}, {}, ["WM"]),
        ({"labels": "map"}, {}, ["legend"]),
        ({"labels": "map"}, {"legend": {1: "GM", 2: "WM"}}, ["5"]),
        ({"tissues": "map"}, {}, ["1 channel"]),
    ],
)
def test_files_that_say_too_little(files, settings, words, tmp_path):
    write(tmp_path, "a", dict.fromkeys(files, np.where(brain(), 5, 0)))
    with pytest.raises(DataError) as caught:
        only(tmp_path, tmp_path / "store", **settings)
    assert all(word in caught.value.found for word in words)


def test_files_of_any_orientation_and_spacing_become_ras_at_the_spacing(tmp_path):
    flipped = GRID.matrix @ np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = GRID.matrix[0, 3] + MM * (GRID.shape[0] - 1)
    maps = fractions() | {"brain": brain()}
    write(tmp_path / "ras", "a", maps)
    write(tmp_path / "las", "a", {name: values[::-1] for name, values in maps.items()}, Grid.of(GRID.shape, flipped))
    ras, las = (only(tmp_path / name, tmp_path / "store") for name in ("ras", "las"))
    np.testing.assert_array_equal(ras.maps, las.maps)
    fine = only(tmp_path / "las", tmp_path / "store", spacing=3.0)
    assert fine.grid.shape == (66, 78, 64)
    assert fine.grid.spacing == (3.0, 3.0, 3.0)
    assert fine.maps.sum(axis=0).max() <= 1 + 1e-5
    assert fine.brain.sum() * 27 == pytest.approx(brain().sum() * 216, rel=0.02)


def test_sets_are_stored_once_mapped_and_light(tmp_path):
    write(tmp_path / "maps", "a", fractions())
    first = sets(tmp_path / "maps", tmp_path / "store")
    (entry,) = first.entries
    written = (entry / DESCRIPTION).stat().st_mtime_ns
    again = sets(tmp_path / "maps", tmp_path / "store")
    assert again.entries == (entry,)
    assert (entry / DESCRIPTION).stat().st_mtime_ns == written
    copy = pickle.loads(pickle.dumps(again))
    assert len(pickle.dumps(again)) < 1000
    np.testing.assert_array_equal(copy[0].maps, first[0].maps)
    assert not copy[0].maps.flags.writeable
    (entry / "maps.npy").write_bytes(b"cut short")
    np.testing.assert_array_equal(sets(tmp_path / "maps", tmp_path / "store")[0].maps, first[0].maps)
    write(tmp_path / "maps", "a", {"GM": 0.5 * fractions()["GM"]})
    assert sets(tmp_path / "maps", tmp_path / "store").entries != (entry,)


def test_a_tenth_validates_after_a_seeded_shuffle(tmp_path):
    for number in range(1, 13):
        write(tmp_path / "maps", f"set{number}", {"GM": fractions()["GM"], "WM": fractions()["WM"]})
    names = {
        (part, seed): [one.name for one in sets(tmp_path / "maps", tmp_path / "store", part, seed)]
        for part in ("train", "val")
        for seed in (0, 1)
    }
    assert (len(names["train", 0]), len(names["val", 0])) == (11, 1)
    assert sorted(names["train", 0] + names["val", 0]) == sorted(f"set{n}" for n in range(1, 13))
    assert names["train", 0] != names["train", 1]
    half = sets(tmp_path / "maps", tmp_path / "store", "val", validation=0.5)
    assert len(half) == 6
    assert len(sets(tmp_path / "maps", tmp_path / "store", "val", validation=0.5, most_validation=4)) == 4
    assert len(sets(tmp_path / "maps", tmp_path / "store", "val", validation=0)) == 0


def test_template_and_phantoms_share_their_classes(tmp_path):
    maps = TissueMaps(spacing=8.0, phantoms=2)
    anatomies = [*maps.anatomies("train", 0, store=tmp_path), *maps.anatomies("val", 0, store=tmp_path)]
    assert {one.name for one in anatomies} == {"template", "phantom-1", "phantom-2"}
    assert maps.channels == ("GM", "WM", "PV", "CSF", "skull", "fluid", "soft", "fat")
    for one in anatomies:
        assert one.channels == maps.channels
        assert one.maps.min() >= 0
        assert one.maps.sum(axis=0).max() <= 1 + 1e-5
        heads = one.maps[4:].any()
        assert heads == (one.name != "template")
        np.testing.assert_allclose(one.maps[:4].sum(axis=0)[one.brain].mean(), 1, atol=0.05)
    again = TissueMaps(spacing=8.0, phantoms=2).anatomies("train", 0, store=tmp_path / "other")
    by_name = {one.name: one for one in anatomies}
    for one in again:
        np.testing.assert_array_equal(one.maps, by_name[one.name].maps)


def test_a_single_set_is_in_both_parts_and_said_to_have_no_skull(tmp_path, caplog):
    maps = TissueMaps(spacing=8.0)
    with caplog.at_level("INFO"):
        train, val = (maps.anatomies(part, 0, store=tmp_path) for part in ("train", "val"))
    assert train.entries == val.entries
    lines = [record for record in caplog.records if record.name == "strokelab.synthesis.tissues"]
    assert [record.levelname for record in lines] == ["INFO", "INFO"]


@pytest.mark.parametrize("setting", [{"spacing": 0}, {"phantoms": -1}, {"validation": 1.0}])
def test_numbers_out_of_range(setting):
    with pytest.raises(ConfigError):
        TissueMaps(**setting)
