"""Pseudo-labels train and never test, and nobody learns for a fold from models that know its answers."""

import csv
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from strokelab.contract import Case
from strokelab.data.datamodule import CohortDataModule
from strokelab.data.pseudo import COLUMNS, EVERY, LABELS, TEACHERS, PseudoLabels, read_label_sets
from strokelab.data.split_file import Split
from strokelab.data.splits import SizeBalancedKFold
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.files import file_digest
from strokelab.grid import Grid
from strokelab.nifti import read_grid, write_volume
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.slices import Slices
from strokelab.view import View

KEPT = {"include_unlabelled": True}
GRID = Grid.of((4, 4, 4), np.eye(4))
SPLIT = Split(("a", "b"), ("c",), ("d", "e"), {name: (f"person-{name}", "R001") for name in "abcde"})


def unlabelled(*names: str, person: str = "") -> list[Case]:
    return [Case(name, person or f"person-{name}", "atlas_v2", "R001", {"T1w": Path(f"{name}.nii")}) for name in names]


def labels(
    root: Path, folds: dict[str, tuple[str, ...]], cases=("x", "y"), grid: dict[str, Grid] | None = None
) -> Path:
    """A folder as ``strokelab self-train`` writes it: label set -> ids that its teachers have seen."""
    rows = []
    for fold in folds:
        for case in cases:
            mask = root / fold / f"{case}.nii.gz"
            mask.parent.mkdir(parents=True, exist_ok=True)
            its = (grid or {}).get(case, GRID)
            voxels = np.zeros(its.shape, np.uint8)
            voxels[1:3, 1:3, 1:3] = 1
            write_volume(mask, voxels, its)
            rows.append([fold, case, f"{fold}/{case}.nii.gz", 8, 0.008, file_digest(mask)])
    told = {
        fold: {
            "runs": ["run"] * (len(folds) if fold == EVERY else 1),
            "seen": seen,
            "persons": [f"person-{case}" for case in seen],
        }
        for fold, seen in folds.items()
    }
    (root / TEACHERS).write_text(json.dumps({"folds": told}))
    with (root / LABELS).open("w", newline="") as table:
        csv.writer(table).writerows([COLUMNS, *rows])
    return root


FOLDS = {"fold0": ("a", "b", "c"), "fold1": ("d", "e", "c"), EVERY: ("a", "b", "c", "d", "e")}


def test_masks_by_models_that_have_not_seen_the_test_cases_join_training(tmp_path):
    pseudo = PseudoLabels(labels(tmp_path, FOLDS))
    cases, split = pseudo.joined(lambda: unlabelled("x", "y"), SPLIT)
    assert split.train == ("a", "b", "x", "y")
    assert (split.val, split.test) == (SPLIT.val, SPLIT.test)
    assert split.about["x"] == ("person-x", "R001")
    assert [case.lesions[0].path for case in cases] == [tmp_path / "fold0/x.nii.gz", tmp_path / "fold0/y.nii.gz"]
    assert all(case.meta["pseudo"] == "fold0" for case in cases)
    # The other fold takes the others' masks; who tests on nobody that was seen takes those of all models.
    assert pseudo.chosen(replace(SPLIT, test=("a", "b"))).name == "fold1"
    assert pseudo.chosen(replace(SPLIT, test=())).name == EVERY


def test_masks_of_models_that_know_the_answers_are_refused_unless_asked_for(tmp_path):
    root = labels(tmp_path, FOLDS)
    mixed = replace(SPLIT, train=("a", "e"), test=("b", "d"))
    with pytest.raises(DataError, match=r"seen some of the 2 test cases"):
        PseudoLabels(root).joined(lambda: unlabelled("x", "y"), mixed)
    assert PseudoLabels(root, per_fold=False).chosen(mixed).name == EVERY
    with pytest.warns(DataWarning, match="'all' are by models that have seen test cases"):
        PseudoLabels(root, per_fold=False).joined(lambda: unlabelled("x", "y"), mixed)
    shutil.rmtree(tmp_path / "one", ignore_errors=True)
    with pytest.raises(DataError, match="by all models"):
        PseudoLabels(labels(tmp_path / "one", {"fold0": ("a",)}), per_fold=False).chosen(mixed)


def test_a_person_never_stands_on_two_sides(tmp_path):
    pseudo = PseudoLabels(labels(tmp_path, FOLDS, cases=("x", "y", "z")))
    cases = [*unlabelled("x", person="person-d"), *unlabelled("y", person="person-c"), *unlabelled("z")]
    with pytest.warns(DataWarning, match=r"\['x', 'y'\] left out"):
        _, split = pseudo.joined(lambda: cases, SPLIT)
    assert split.train == ("a", "b", "z")


def test_models_that_know_another_scan_of_a_test_person_know_too_much(tmp_path):
    """They trained on a scan that this split has left out, so the ids of cases alone do not tell."""
    split = replace(SPLIT, train=("b",), test=("a2", "e"), about={**SPLIT.about, "a2": ("person-a", "R001")})
    with pytest.raises(DataError, match="all by models that have seen some"):
        PseudoLabels(labels(tmp_path, {"fold0": ("a", "b")})).chosen(split)


def test_masks_and_unlabelled_cases_belong_together(tmp_path):
    root = labels(tmp_path, FOLDS)
    with pytest.raises(DataError, match=r"1 unlabelled cases without a mask in fold0 \['z'\], 1 masks of unknown"):
        PseudoLabels(root).joined(lambda: unlabelled("x", "z"), SPLIT)
    known = PseudoLabels(root, digest=file_digest(root / LABELS))
    known.joined(lambda: unlabelled("x", "y"), SPLIT)
    write_volume(root / "fold0/x.nii.gz", np.ones(GRID.shape, np.uint8), GRID)
    with pytest.raises(DataError, match="another mask than the one"):
        known.joined(lambda: unlabelled("x", "y"), SPLIT)
    with pytest.raises(DataError, match="other masks than those this training was to learn from"):
        PseudoLabels(root, digest="0" * 32).joined(lambda: unlabelled("x", "y"), SPLIT)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (LABELS, None, "No such file"),
        (LABELS, lambda text: "fold,case_id\nfold0,x\n", "columns"),
        (LABELS, lambda text: text.replace("fold0/x", "../fold0/x"), "not in the folder"),
        (LABELS, lambda text: text.replace("fold0/x", "/fold0/x"), "not in the folder"),
        (LABELS, lambda text: text + text.splitlines()[1] + "\n", "a second time"),
        (LABELS, lambda text: text.replace("fold1,", "fold9,"), "unknown"),
        (TEACHERS, None, "No such file"),
        (TEACHERS, lambda text: "[]", "TypeError"),
        (TEACHERS, lambda text: '{"folds": {}}', "no folds"),
    ],
)
def test_damaged_folders_are_named(tmp_path, name, change, words):
    root = labels(tmp_path, FOLDS)
    path = root / name
    path.unlink() if change is None else path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=words) as error:
        read_label_sets(root)
    assert str(path) in str(error.value)


def test_a_weight_must_be_positive():
    with pytest.raises(ConfigError, match=r"data\.pseudo=null"):
        PseudoLabels("root", weight=0)


def test_a_cohort_serves_them_as_training_cases_and_nothing_else(t1_cohort, tmp_path):
    root = Path(shutil.copytree(t1_cohort, tmp_path / "cohort"))
    people = sorted({path.parent for path in root.rglob("*LesionSmooth*")})
    for mask in [mask for person in people[:2] for mask in person.glob("*LesionSmooth*")]:
        mask.unlink()
    view = View(Preparation(("T1w",)), Slices(min_brain_pixels=8), windows=None)
    split = SizeBalancedKFold(folds=2, val_fraction=0)

    def cohort(**settings) -> CohortDataModule:
        return CohortDataModule(
            "atlas_v1", root, ("T1w",), view, split, options=KEPT, labelled_only=True, progress=False, **settings
        )

    plain = cohort()
    assert len(plain.unlabelled) == 2
    grids = {case.case_id: read_grid(case.reference_image) for case in plain.unlabelled}
    seen = plain.split_result.train
    folder = labels(tmp_path / "labels", {"fold0": seen}, cases=tuple(grids), grid=grids)
    taught = cohort(pseudo=PseudoLabels(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        taught.setup("fit")
    assert set(taught.split_result.train) == {*seen, *grids}
    assert taught.split_result.test == plain.split_result.test
    assert taught.describe()["pseudo_labels"] == {
        **{"masks": "fold0", "cases": 2, "teachers": ["run"]},
        "honest": True,
    }
    stored = {case.case_id: case for case in taught.volumes("train")}
    assert all(stored[case].load().lesion.sum() == 8 for case in grids)
    # Labels of real cases are untouched.
    for mine, other in zip(taught.volumes("test"), plain.volumes("test"), strict=True):
        assert np.array_equal(mine.load().lesion, other.load().lesion)
    assert len(taught.train_dataloader().dataset) > len(plain.train_dataloader().dataset)
