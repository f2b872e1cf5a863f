"""Masks that lie elsewhere than their reference: counted and warned of, or an error; never a silent Dice of 0."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from mask_files import block, run, save

from strokelab.contract import LesionFile
from strokelab.scoreboard.agreement import agreement_of
from strokelab.scoreboard.masks import MaskRule, about_grids
from strokelab.scoreboard.score import Entry, Reference, Rules, score_entries
from strokelab.scoreboard.twins import Twin

PLACE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 3, -10], [0, 0, 0, 1]])
TRUE = block((1, 1, 1), (7, 6, 5))


def moved(mm):
    affine = PLACE.copy()
    affine[0, 3] += mm
    return affine


def scored(tmp_path, predictions):
    """One case per prediction, all of the same reference."""
    truth = save(tmp_path / "truth.nii.gz", TRUE, PLACE)
    entries = [Entry("tool", Reference(path.name, (LesionFile(truth),)), path) for path in predictions]
    return score_entries(entries, Rules(), workers=1).cases.set_index("case")


@pytest.mark.parametrize(
    ("affine", "shape"),
    [
        (np.eye(4), None),
        (np.diag([2.0, 2, 3, 1]), None),
        (np.diag([-2.0, -2, 3, 1]), None),  # as ITK writes what has no direction
        (None, None),  # both codes 0
        (np.eye(4), (14, 11, 10)),
    ],
)
def test_a_lost_affine_is_an_error_with_a_remedy_that_works(tmp_path, affine, shape):
    voxels = TRUE if shape is None else np.pad(TRUE, ((0, 2), (0, 0), (0, 0)))
    lost = tmp_path / "lost.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), lost)
    row = scored(tmp_path, [lost]).iloc[0]
    assert "does not say where the mask lies" in row["error"]
    assert str(lost) in row["error"]
    assert pd.isna(row.get("dice", np.nan))
    twin = Twin("c", Reference("c", (LesionFile(tmp_path / "truth.nii.gz"),)), Reference("c", (LesionFile(lost),)), "c")
    assert "does not say where the mask lies" in agreement_of(twin, MaskRule())["error"]
    if shape is None:
        mask, image = nib.load(lost), nib.load(tmp_path / "truth.nii.gz")
        assert "nibabel.save(nibabel.Nifti1Image(mask.dataobj, image.affine, image.header), FILE)" in row["error"]
        nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), image.affine, image.header), lost)
        assert scored(tmp_path, [lost]).iloc[0]["dice"] == 1


def test_a_lesion_wholly_outside_the_reference_is_an_error(tmp_path):
    # 12 voxels of 2 mm along x; at +18 mm a block at the low end is outside, the volumes still overlap.
    outside = save(tmp_path / "a.nii.gz", block((0, 1, 1)), moved(18.0))
    inside = save(tmp_path / "b.nii.gz", block((9, 1, 1)), moved(18.0))
    empty = save(tmp_path / "c.nii.gz", np.zeros_like(TRUE), moved(18.0))
    rows = scored(tmp_path, [outside, inside, empty])
    assert "all of its 0.32 ml outside" in rows.loc["a.nii.gz", "error"]
    assert rows.loc["b.nii.gz", "error"] == rows.loc["c.nii.gz", "error"] == ""
    assert rows.loc["b.nii.gz", "grid_kept"] == 1
    assert rows.loc["c.nii.gz", "grid_kept"] == 1


def test_masks_on_other_grids_are_counted_and_changes_are_named(tmp_path):
    same = save(tmp_path / "a.nii.gz", TRUE, PLACE)
    shifted = save(tmp_path / "b.nii.gz", TRUE, moved(2.0))
    # One voxel of every two rows: on the finer grid each covers two, the volume stays; cut off at the border it halves.
    cut = save(tmp_path / "c.nii.gz", block((0, 1, 1), size=4), moved(4.0))
    rows = scored(tmp_path, [same, shifted, cut])
    assert pd.isna(rows.loc["a.nii.gz", "grid_kept"])
    assert rows.loc["b.nii.gz", "grid_kept"] == 1
    assert rows.loc["c.nii.gz", "grid_kept"] == 0.5
    count, warning = about_grids(rows.reset_index())
    assert count.startswith("2 of 3 masks")
    assert warning.startswith("Warning:")
    assert "c.nii.gz (tool) -50%" in warning
    assert "b.nii.gz" not in warning
    assert about_grids(rows.reset_index().iloc[:1]) == []


def test_the_terminal_and_json_say_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("strokelab.scoreboard.page.write_report", lambda evaluation, folder: folder / "report.html")
    for case, affine in (("a", PLACE), ("b", moved(2.0)), ("c", np.eye(4))):
        save(tmp_path / "refs" / f"{case}.nii.gz", TRUE, PLACE)
        save(tmp_path / "tool" / f"{case}.nii.gz", block((0, 1, 1)), affine)
    arguments = ("score", tmp_path / "tool", tmp_path / "refs", "--out", tmp_path / "out")
    status, shown = run(monkeypatch, capsys, *arguments)
    assert status == 1
    assert "1 of 3 masks lay on another grid" in shown
    assert "Warning: the volume of 1 of them changed by more than 5%: b (tool) -33%" in " ".join(shown.split()).replace(
        " through it", ""
    )
    status, text = run(monkeypatch, capsys, *arguments, "--json")
    content = json.loads(text)
    assert (status, content["schema"], content["ok"]) == (1, "strokelab.score/1", False)
    assert [row["case"] for row in content["cases"]] == ["a", "b", "c"]
    assert content["methods"][0]["failed"] == 1
    assert content["methods"][0]["metrics"]["dice"]["n"] == 2
    assert content["error"]["where"] == content["files"]["cases"] == str(tmp_path / "out" / "cases.csv")
    assert content["cases"][2]["dice"] is None
    assert content["notes"][0].startswith("1 of 3 masks")


def test_mistakes_are_json_as_well(tmp_path, monkeypatch, capsys):
    status, text = run(monkeypatch, capsys, "score", tmp_path / "no", tmp_path / "refs", "--json")
    content = json.loads(text)
    assert (status, content["ok"]) == (1, False)
    assert {"where", "found", "expected", "remedy", "kind"} == set(content["error"])


def test_labels_of_a_dataset_can_be_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("strokelab.scoreboard.page.write_report", lambda evaluation, folder: folder / "report.html")
    root = tmp_path / "data"
    save(root / "images" / "a_T1w.nii.gz", np.random.default_rng(0).random(TRUE.shape), PLACE)
    save(root / "labels" / "a.nii.gz", (TRUE + block((1, 1, 1))).astype(np.uint8), PLACE)  # 2 in one block, 1 in one
    save(tmp_path / "tool" / "a.nii.gz", block((1, 1, 1)), PLACE)
    arguments = ("score", tmp_path / "tool", root, "--dataset", "folder", "--out", tmp_path / "out", "--json")
    status, text = run(monkeypatch, capsys, *arguments)
    assert status == 1
    assert "--reference-labels 1,2" in json.loads(text)["cases"][0]["error"]
    status, text = run(monkeypatch, capsys, *arguments, "--reference-labels", "2")
    assert (status, json.loads(text)["cases"][0]["dice"]) == (0, 1)
