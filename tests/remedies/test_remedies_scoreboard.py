"""Remedies of ``strokelab score``, ``agreement`` and the exchange with nnU-Net, typed behind what failed."""

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from doing import executes, options, said, strokelab

from strokelab.data import read_cases
from strokelab.grid import Grid
from strokelab.scoreboard import command, compare


@pytest.fixture(autouse=True)
def only_found(monkeypatch, tmp_path):
    """The two commands find what they would compare, and stop."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "score_masks", lambda sources, rules, *_, **__: command.find_entries(sources, rules))
    monkeypatch.setattr(compare, "compare_masks", lambda *_, **__: None)


def masks(folder: str, *names: str) -> str:
    """A folder of masks of which only the names count."""
    for name in names:
        path = Path(folder) / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def table(first: str, second: str, *, columns: str = "case,prediction,reference") -> str:
    """The file ``FILE.csv`` that a remedy speaks of."""
    Path("FILE.csv").write_text(f"{columns}\na,{first},{second}\n")
    return "FILE.csv"


@executes("strokelab/scoreboard/command.py:find_entries", "strokelab/scoreboard/command.py:_refuse_own_rules")
def test_ways_to_score(t1_cohort, tmp_path):
    made, drawn = masks("made", "a"), masks("drawn", "a")
    for given in ((), (made,)):
        remedy = said(strokelab, "score", *given).remedy
        assert "two files or folders" in remedy
        strokelab("score", made, drawn)
        shown = strokelab(*remedy.partition("; strokelab ")[2].removesuffix(" shows everything").split())
        assert "--pairs" in shown
    cases = read_cases("atlas_v1", t1_cohort)
    mine = masks("mine", cases[0].case_id)
    of_dataset = ("score", mine, str(t1_cohort), "--dataset", "atlas_v1")
    images = os.path.commonpath([case.images["T1w"] for case in cases])
    for own in (("--images", images), ("--reference-threshold", "0.5")):
        remedy = said(strokelab, *of_dataset, *own).remedy
        assert options(remedy) == ["--dataset"]
        strokelab(*of_dataset)
        strokelab("score", mine, masks("theirs", cases[0].case_id))


@executes("strokelab/scoreboard/entries.py:matched_entries", "strokelab/scoreboard/matching.py:match")
@executes("strokelab/scoreboard/matching.py:_ambiguous", "strokelab/scoreboard/lists.py:read_participants")
def test_names_that_fit():
    one, two, other = masks("one", "a"), masks("two", "a", "b"), masks("other", "c")
    typed = ("score", two, one)
    remedy = said(strokelab, *typed).remedy
    strokelab(*typed, *options(remedy))
    strokelab("score", two, masks("whole", "a", "b"))
    strokelab("score", f"{two}/a.nii.gz", one)

    typed = ("score", two, other)
    assert options(said(strokelab, *typed).remedy) == ["--pairs"]
    strokelab("score", "--pairs", table("two/a.nii.gz", "other/c.nii.gz"))
    strokelab("score", two, masks("renamed", "a", "b"))

    twice = masks("twice", "sub-1/sub-1_desc-x_mask", "sub-1/sub-1_desc-y_mask")
    drawn = masks("sub", "sub-1_mask")
    remedy = said(strokelab, "score", twice, drawn).remedy
    assert options(remedy) == ["--pairs"]
    pattern = shlex.split(remedy.partition("pattern such as ")[2].partition(",")[0])[0]
    pattern = pattern.replace("folder", twice).replace("*_mask", "*_desc-x_mask")
    strokelab("score", pattern, drawn)
    strokelab("score", "--pairs", table(f"{twice}/sub-1/sub-1_desc-x_mask.nii.gz", f"{drawn}/sub-1_mask.nii.gz"))

    Path("participants.tsv").write_text("participant_id\tage\nsub-1\t7\n")
    typed = ("score", pattern, drawn)
    remedy = said(strokelab, *typed, "--participants", "participants.tsv").remedy
    assert options(remedy) == ["--participants"]
    strokelab(*typed)
    Path("participants.tsv").write_text("participant_id\tsite\nsub-1\tLyon\n")
    strokelab(*typed, "--participants", "participants.tsv")


@executes("strokelab/scoreboard/compare.py:find_twins", "strokelab/scoreboard/twins.py:retests")
def test_ways_to_agree(t1_cohort, isles_cohort):
    first, second = masks("first", "a"), masks("second", "a")
    error = said(strokelab, "agreement", first)
    ways = {
        "FIRST SECOND": (first, second),
        "--pairs FILE.csv": ("--pairs", table("first/a.nii.gz", "second/a.nii.gz", columns="case,first,second")),
        "ROOT --dataset NAME": (str(t1_cohort), "--dataset", "atlas_v1"),
    }
    assert all(way in error.expected for way in ways)
    for typed in ways.values():
        strokelab("agreement", *typed)
    assert "--pairs" in strokelab(*error.remedy.partition("; strokelab ")[2].removesuffix(" shows everything").split())
    remedy = said(strokelab, "agreement", isles_cohort, "--dataset", "isles2022").remedy
    typed = remedy.partition("strokelab ")[2].replace("FIRST", first).replace("SECOND", second)
    strokelab(*typed.split())


@executes("strokelab/scoreboard/masks.py:bring_to", "strokelab/scoreboard/workers.py:over_cases")
def test_grids_and_workers(monkeypatch):
    from strokelab.preparation.parallel import WorkerDiedError
    from strokelab.scoreboard import workers
    from strokelab.scoreboard.masks import ReadMask, bring_to

    mask = ReadMask(np.ones((4, 4, 4), bool), Grid.of((4, 4, 4), np.eye(4)))
    target = Grid.of((5, 5, 5), np.eye(4))
    typed = ["score", masks("made", "a"), "made"]
    strict: list[bool] = []
    monkeypatch.setattr(command, "score_masks", lambda sources, rules, *_, **__: strict.append(rules.strict_grid))
    (option,) = options(said(bring_to, mask, target, where=Path("x"), strict=True).remedy)
    strokelab(*typed, option)
    strokelab(*typed)  # the option left away
    assert strict == [True, False]
    assert bring_to(mask, target, where=Path("x"), strict=False).notes

    def dying(work, jobs, processes):
        for job in jobs:
            if processes > 1:
                raise WorkerDiedError(jobs)
            yield job, work(job)

    monkeypatch.setattr(workers, "outcomes", dying)
    given: list[int] = []
    monkeypatch.setattr(command, "score_masks", lambda *_, workers, **__: given.append(workers))
    jobs = {"a": 1, "b": 2}

    def run(count: int) -> list:
        return list(workers.over_cases(abs, jobs, workers=count, console=None, title=""))

    strokelab(*typed, *said(run, 2).remedy.partition(": ")[2].split())
    assert run(*given) == [("a", 1), ("b", 2)]


@executes("strokelab/exchange/raw_dataset.py:_check_name", "strokelab/exchange/raw_dataset.py:_check_cases")
@executes("strokelab/exchange/raw_dataset.py:export_nnunet")
def test_exports(t1_cohort, monkeypatch):
    from strokelab.exchange import raw_dataset

    monkeypatch.setattr(raw_dataset, "_write_case", lambda *_, **__: [])
    typed = ("export-nnunet", t1_cohort, "--dataset", "atlas_v1", "--out", "raw", "--folds", "0")
    assert options(said(strokelab, *typed, "--id", "1000", "--name", "a b").remedy) == ["--id", "--name"]
    strokelab(*typed, "--id", "501", "--name", "a_b")
    assert options(said(strokelab, *typed, "--id", "501").remedy) == ["--id"]
    strokelab(*typed, "--id", "502")
    assert options(said(strokelab, *typed, "--id", "503", "--modality", "FLAIR").remedy) == ["--modality"]
    strokelab(*typed, "--id", "503", "--modality", "T1w")


@executes("strokelab/exchange/run_folder.py:import_nnunet", "strokelab/exchange/run_folder.py:_version")
@executes("strokelab/exchange/foreign_run.py:check_names", "strokelab/exchange/trained_model.py:")
def test_imports(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "exchange")
    import nnunet_models

    built = nnunet_models.version2(Path("my model").resolve())
    typed = ("import-nnunet", built.folder, "--out", "a")
    error = said(strokelab, *typed, "--checkpoint", "snapshot")
    assert options(error.remedy) == ["--checkpoint"]
    assert "'final'" in error.expected
    assert options(said(strokelab, *typed, "--modality", "T1w", "--modality", "T2w").remedy) == ["--modality"]
    strokelab(*typed, "--checkpoint", "final", "--modality", "T1w")

    remedy = said(strokelab, "import-nnunet", built.folder / "fold_0", "--out", "b").remedy
    parent, _, fold = remedy.removeprefix("name ").partition(" and add ")
    strokelab("import-nnunet", *shlex.split(parent), "--out", "b", *fold.split())

    built.dataset["channel_names"] = {"0": "${x}"}
    built.write()
    assert options(said(strokelab, *typed[:-1], "d").remedy) == ["--modality"]
    strokelab(*typed[:-1], "d", "--modality", "T1w")

    built.plans["image_reader_writer"] = "Rhinoceros"
    built.write()
    remedy = said(strokelab, *typed[:-1], "e").remedy
    score = remedy.partition("masks with strokelab ")[2].split()
    strokelab(*score, masks("nnunets", "a"), masks("drawn", "a"))
