"""Scores that may look better than they are are told as such."""

import shutil
from dataclasses import replace

import yaml
from evaluation_settings import evaluation_settings

from strokelab.data.split_file import Split
from strokelab.evaluation.entries import entries_of
from strokelab.evaluation.honesty import doubts


def student(run, place, honest):
    """A copy of a run that learned from masks by models that had, or had not, seen its test cases."""
    shutil.copytree(run, place)
    settings = yaml.safe_load((place / "config.yaml").read_text()) | {"name": place.name}
    settings["cohort"]["pseudo_labels"] = {"masks": "all", "honest": honest}
    (place / "config.yaml").write_text(yaml.safe_dump(settings))
    return str(place)


def test_students_of_models_that_knew_the_answers_and_runs_of_unknown_origin_are_named(trained_run, tmp_path):
    folders = [student(trained_run, tmp_path / name, name == "honest") for name in ("honest", "partial")]
    honest, partial = entries_of(folders, [], evaluation_settings())
    assert doubts([honest, partial], "test") == (
        "partial: it learned from masks by models that had seen its test cases.",
    )
    assert doubts([honest, partial], "train") == ()
    imported = replace(honest, split=Split((), (), ()), label="nnunet_v2")
    assert doubts([imported], "test")[0].startswith("nnunet_v2: nobody wrote down whom it was trained on")
