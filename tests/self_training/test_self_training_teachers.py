"""The scheme that teaches is the best in cross-validation; folds that are missing or mixed are named."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.data.split_file import Split
from strokelab.errors import DataError, RunError
from strokelab.scoring.tables import ORIGIN, RECIPE
from strokelab.self_training.labelling import sharers
from strokelab.self_training.teachers import Teacher, cross_validated, find_teachers
from strokelab.sweeps.record import Door, SweepMember, add_members

CASES = [f"case{number}" for number in range(6)]
DOOR = Door(Path("train.py"), Path("/"), "python")
COLUMNS = [*ORIGIN, *RECIPE, "dice", "error"]


def run(folder: Path, scheme: str, fold: int, *, dice=0.5, test=None, state="finished") -> SweepMember:
    """A run folder of one of two folds, as far as the loop looks at it."""
    place = folder / f"{scheme}-fold{fold}-seed0"
    (place / "checkpoints").mkdir(parents=True)
    (place / "checkpoints/last.ckpt").write_text(place.name)
    (place / "config.yaml").write_text("{model: {}, view: {}, postprocess: {}, cohort: {}, checkpoint: last}\n")
    (place / "status.json").write_text(
        json.dumps({"state": state, "error": "loss is NaN" if state == "failed" else ""})
    )
    tested = CASES[fold::2] if test is None else test
    split = Split(tuple(case for case in CASES if case not in tested), (), tuple(tested))
    split.write(place / "split.csv")
    rows = [{"case": case, "dice": dice, "error": "" if dice else "broken"} for case in tested]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(seed=0)
    table.to_csv(place / "cases.csv", index=False)
    (place / "probabilities.csv").write_text("run,case,bin,lesion,healthy,mass\n")
    return SweepMember(fold, (f"model={scheme}", f"split.fold={fold}"), place, "")


def sweep(folder: Path, **dice: tuple[float, float]) -> Path:
    members = [
        run(folder, scheme, fold, dice=value) for scheme, both in dice.items() for fold, value in enumerate(both)
    ]
    add_members(folder, members, door=DOOR, launcher="processes")
    return folder


def test_the_best_scheme_is_that_of_the_best_mean_over_all_cases(tmp_path):
    folder = sweep(tmp_path, nnunet=(0.5, 0.7), nnunet_topk=(0.4, 0.9), nnunet_residual=(0.65, 0.65))
    teachers = find_teachers(folder, ("nnunet", "nnunet_topk", "nnunet_residual"), 2)
    scores = cross_validated(teachers)
    # Equal means: the one named first.
    assert [(score.scheme, score.cases) for score in scores] == [
        ("nnunet_topk", 6),
        ("nnunet_residual", 6),
        ("nnunet", 6),
    ]
    assert [score.dice_mean for score in scores] == pytest.approx([0.65, 0.65, 0.6])
    assert [score.dice_sd for score in scores] == pytest.approx([0.27386, 0.0, 0.10954], abs=1e-5)


def test_folds_that_are_missing_unfinished_or_there_twice_are_named(tmp_path):
    add_members(tmp_path, [run(tmp_path, "nnunet", 0)], door=DOOR, launcher="processes")
    with pytest.raises(RunError, match="0 runs of nnunet for fold 1"):
        find_teachers(tmp_path, ("nnunet",), 2)
    add_members(tmp_path, [run(tmp_path, "nnunet", 1, state="failed")], door=DOOR, launcher="processes")
    with pytest.raises(RunError, match="failed: loss is NaN"):
        find_teachers(tmp_path, ("nnunet",), 2)
    other = run(tmp_path / "more", "nnunet", 1)
    add_members(
        tmp_path, [SweepMember(9, (*other.overrides, "seed=1"), other.folder, "")], door=DOOR, launcher="processes"
    )
    with pytest.raises(RunError, match="2 runs of nnunet for fold 1"):
        find_teachers(tmp_path, ("nnunet",), 2)


def test_what_is_no_cross_validation_is_refused(tmp_path):
    overlapping = [run(tmp_path, "nnunet", 0), run(tmp_path, "nnunet", 1, test=["case0", "case1"])]
    add_members(tmp_path, overlapping, door=DOOR, launcher="processes")
    with pytest.raises(RunError, match="1 cases in the test part of several folds"):
        find_teachers(tmp_path, ("nnunet",), 2)


def test_cases_without_a_score_and_schemes_of_other_cases_are_refused(tmp_path):
    failed = find_teachers(sweep(tmp_path / "a", nnunet=("", 0.5)), ("nnunet",), 2)
    with pytest.raises(RunError, match="no Dice of"):
        cross_validated(failed)
    both = find_teachers(sweep(tmp_path / "b", nnunet=(0.4, 0.5), nnunet_topk=(0.4, 0.5)), ("nnunet", "nnunet_topk"), 2)
    (both["nnunet"][0].folder / "cases.csv").unlink()
    with pytest.raises(DataError, match="no such file"):
        cross_validated(both)
    with pytest.raises(RunError, match="tested on different cases"):
        cross_validated({"nnunet_topk": both["nnunet_topk"], "nnunet": both["nnunet"][1:]})


@settings(deadline=None, max_examples=50)
@given(folds=st.integers(2, 6), cases=st.integers(6, 60), val=st.data())
def test_nobody_labels_for_a_fold_whose_test_cases_it_has_seen(folds, cases, val):
    ids = [f"c{number}" for number in range(cases)]
    fold_of = {case: val.draw(st.integers(0, folds - 1)) if index >= folds else index for index, case in enumerate(ids)}
    teachers = []
    for fold in range(folds):
        rest = [case for case in ids if fold_of[case] != fold]
        validates = tuple(rest[: val.draw(st.integers(0, 2))])
        test = tuple(case for case in ids if fold_of[case] == fold)
        split = Split(tuple(case for case in rest if case not in validates), validates, test)
        teachers.append(Teacher(Path(str(fold)), fold, split, Path("last.ckpt")))
    shares = sharers(teachers)
    assert shares["all"] == [*range(folds)]
    for fold, teacher in enumerate(teachers):
        assert shares[f"fold{fold}"] == [fold]  # in a cross-validation: the model of this very fold
        assert all(not teachers[place].seen & set(teacher.split.test) for place in shares[f"fold{fold}"])
