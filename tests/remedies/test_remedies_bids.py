"""Remedies about BIDS trees, followed on files of which only the names count."""

from pathlib import Path

import numpy as np
import pytest
from doing import executes, options, said, settings, told
from rich.console import Console
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.configuration.overriding import override
from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.grid import Grid

pytestmark = pytest.mark.filterwarnings("ignore::strokelab.errors.DataWarning")


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.nii.gz").touch()
    return root


def read(root: Path, *words: str) -> list[Case]:
    """The cohort that these settings of ``train.py`` read."""
    chosen = override(settings("data=bids", "data.modalities=[T1w]", "data.root=x"), list(words))["data"]["options"]
    return read_cases("bids", root, **{name: value for name, value in chosen.items() if value is not None})


@executes("strokelab/data/readers/bids.py:image", "strokelab/data/readers/bids.py:label")
@executes("strokelab/data/readers/bids.py:lesions", "strokelab/data/readers/_bids_tables.py:of")
def test_options_of_the_bids_reader(tmp_path):
    root = touched(tmp_path / "a", "sub-1/anat/sub-1_run-1_T1w", "sub-1/anat/sub-1_run-2_T1w")
    words = told(said(read, root).remedy)
    assert words == ["data.options.repeats=first", "data.options.prefer={run: 1}"]
    for word in words:
        assert len(read(root, word)) == 1
    root = touched(tmp_path / "b", "sub-1/anat/sub-1_T1w")
    (word,) = told(said(read, root, "data.options.label_modality=DWI").remedy)
    assert read(root, word)
    masks = [f"derivatives/{name}/sub-1/anat/sub-1_label-lesion_mask" for name in ("one", "two")]
    (word,) = told(said(read, touched(root, *masks)).remedy)
    assert read(root, word)
    (root / "participants.tsv").write_text("participant_id\thospital\nsub-1\tA\n")
    (word,) = told(said(read, root, "data.options.masks_from=one", "data.options.site_column=scanner").remedy)
    assert [case.site for case in read(root, "data.options.masks_from=one", word)] == ["A"]


@executes(
    "strokelab/evaluation/bids_app.py:_check_labels", "strokelab/cli/bids.py:bids", "strokelab/cli/bids.py:_pairs"
)
@executes("strokelab/evaluation/bids_app.py:_check_validity")
def test_words_of_the_bids_app(tmp_path, monkeypatch):
    from strokelab.evaluation import bids_app

    there = ["sub-01_ses-1", "sub-02_ses-2"]

    def looked_for(**labels) -> None:
        bids_app._check_labels(bids_app.Asked(tmp_path, **labels), there, [])

    for option, key in (("--participant-label", "participants"), ("--session-label", "sessions")):
        remedy = said(looked_for, **{key: ["9"]}).remedy
        assert remedy.startswith(f"{option} ")
        looked_for(**{key: remedy.split()[1:]})
    assert said(looked_for, participants=["01"], sessions=["2"]).remedy == "leave one of the two out"
    for extra, words in ((["--prefer", "run"], "write it with ="), ([], "--model with a run folder")):
        result = CliRunner().invoke(app, ["bids", str(tmp_path), str(tmp_path), "participant", *extra])
        assert words in result.exception.remedy
    answer = '{"issues": {"issues": [{"severity": "error", "code": "X", "location": "/a"}]}}'
    (tmp_path / "validator").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "validator").chmod(0o755)
    monkeypatch.setattr(bids_app, "_VALIDATOR", str(tmp_path / "validator"))
    error = said(bids_app._check_validity, bids_app.Asked(tmp_path), Console(quiet=True))
    assert "--skip-bids-validation" in error.remedy
    bids_app._check_validity(bids_app.Asked(tmp_path, validate=False), Console(quiet=True))


@executes("strokelab/evaluation/lesion_places.py:regions")
def test_an_atlas_in_another_space(tmp_path):
    from strokelab.evaluation.lesion_places import Atlas

    grid, other = (Grid.of((4, 4, 4), np.diag([mm, mm, mm, 1.0])) for mm in (2.0, 3.0))
    atlas = Atlas(tmp_path, np.ones((4, 4, 4), dtype=np.int64), grid)
    assert "--images-from" in options(said(atlas.regions, np.ones((4, 4, 4)), other, "c").remedy)
    assert atlas.regions(np.ones((4, 4, 4)), grid, "c")  # of a scan in its space
