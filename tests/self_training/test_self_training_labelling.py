"""Masks of unlabelled cases: by whom, at which threshold, and that drawing them can be stopped and gone on with."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from strokelab.data import read_cases
from strokelab.data.pseudo import LABELS, TEACHERS, PseudoLabels, read_label_sets
from strokelab.data.split_file import Split
from strokelab.errors import RunError
from strokelab.inference.scores import Scores
from strokelab.nifti import read_grid, read_voxels
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore
from strokelab.self_training import labelling
from strokelab.self_training.labelling import Labelling, write_pseudo_labels
from strokelab.self_training.teachers import SchemeScore, Teacher

CONSOLE = Console(quiet=True)
SCORES = (SchemeScore("nnunet", 4, 0.6, 0.1),)


@dataclass
class StandIn:
    """A run whose probability is 0.4 everywhere, 0.5 or 0.7 in a corner, by its fold."""

    fold: int
    drawn: list

    @property
    def view(self):
        return self

    @property
    def preparation(self):
        return Preparation(("T1w",))

    def preparation_of(self, case, store=None):
        return self.preparation

    def scores(self, prepared):
        self.drawn.append((self.fold, prepared.case_id))
        probability = np.full(prepared.native.shape, 0.4, np.float32)
        probability[: 2 + self.fold, :2, :2] = (0.5, 0.7)[self.fold]
        (orient,) = prepared.steps
        return Scores(orient.apply(probability))


@pytest.fixture
def work(session_folder, t1_cohort, tmp_path, monkeypatch) -> tuple[Labelling, list]:
    cases = [replace(case, lesions=()) for case in read_cases("atlas_v1", t1_cohort)[:2]]
    teachers, drawn = [], []
    for fold, (mine, others) in enumerate((("ab", "cd"), ("cd", "ab"))):
        folder = tmp_path / f"nnunet-fold{fold}"
        folder.mkdir()
        (folder / "last.ckpt").write_text(str(fold))
        split = Split(tuple(others), (), tuple(mine), {case: (case.upper(), "") for case in "abcd"})
        teachers.append(Teacher(folder, fold, split, folder / "last.ckpt"))
    runs = {teacher.folder: StandIn(teacher.fold, drawn) for teacher in teachers}
    monkeypatch.setattr("strokelab.runs.trained.load_run", lambda folder, **_: runs[folder])
    store = PreparedStore(session_folder / "store")
    return Labelling(tmp_path / "pseudo_labels", teachers, SCORES, cases, store), drawn


def test_a_folds_masks_are_by_the_model_that_saw_none_of_its_test_cases(work):
    work, drawn = work
    digest = write_pseudo_labels(work, CONSOLE)
    assert sorted(drawn) == [(fold, case.case_id) for fold in (0, 1) for case in work.cases]  # each once
    table = pd.read_csv(work.folder / LABELS)
    # At least 0.5 is lesion: 0.5 alone, 0.7 alone; of both also the row with (0.4 + 0.7) / 2.
    assert table.groupby("fold")["voxels"].unique().map(list).to_dict() == {"fold0": [8], "fold1": [12], "all": [12]}
    sets = {one.name: one for one in read_label_sets(work.folder)}
    assert sets["fold0"].teachers == ("nnunet-fold0",)
    assert (sets["fold0"].seen, sets["fold0"].subjects) == ({"c", "d"}, {"C", "D"})
    assert sets["all"].seen == {"a", "b", "c", "d"}
    told = json.loads((work.folder / TEACHERS).read_text())
    assert told["cross_validation"][0] == {"scheme": "nnunet", "cases": 4, "dice_mean": 0.6, "dice_sd": 0.1}
    case = work.cases[0]
    voxels, grid = read_voxels(sets["fold1"].masks[case.case_id])
    assert grid.matches(read_grid(case.reference_image))
    assert voxels[:3, :2, :2].all()
    # What a student of a fold learns from, and that it knows the table again.
    student = PseudoLabels(work.folder, digest=digest)
    assert student.chosen(work.teachers[1].split).name == "fold1"
    assert write_pseudo_labels(work, CONSOLE) == digest
    assert len(drawn) == 4


def test_drawing_goes_on_where_it_was_stopped(work, monkeypatch):
    work, drawn = work
    count, write = [], labelling.write_volume

    def stopping(path: Path, *rest):
        count.append(path)
        if len(count) == 5:  # of the second case, after one of its three masks
            raise KeyboardInterrupt
        return write(path, *rest)

    monkeypatch.setattr(labelling, "write_volume", stopping)
    with pytest.raises(KeyboardInterrupt):
        write_pseudo_labels(work, CONSOLE)
    assert not (work.folder / LABELS).exists()
    first = {path: path.stat().st_mtime_ns for path in count[:3]}
    monkeypatch.setattr(labelling, "write_volume", write)
    write_pseudo_labels(work, CONSOLE)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(drawn) == 4 + 2  # the second case again, the first not
    assert len(read_label_sets(work.folder)) == 3


def test_masks_by_other_weights_are_not_mixed_with_these(work):
    work, _ = work
    write_pseudo_labels(work, CONSOLE)
    work.teachers[0].checkpoint.write_text("trained again")
    with pytest.raises(RunError, match="pseudo-labels by other teachers"):
        write_pseudo_labels(work, CONSOLE)
