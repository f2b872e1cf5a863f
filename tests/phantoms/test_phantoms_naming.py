"""A cohort's folder is named after all that decides its bytes; cohorts of earlier names are found again."""

import itertools

import pytest

from strokelab.configuration import compose, plain
from strokelab.configuration.cohort import phantom_settings
from strokelab.data.datamodule import Phantom
from strokelab.errors import ConfigError, DataError
from strokelab.phantoms.cohort import write_cohort
from strokelab.phantoms.naming import cohort_name, of_phantoms
from strokelab.preparation.recipe import Preparation

BASE = {"spacing": 8.0, "sites": 2, "cases_per_site": 1, "seed": 0, "options": {}}


def root_of(*words):
    return plain(compose("train", list(words)))["data"]["root"]


def test_a_cohort_is_synthetic_by_its_word_or_by_its_folder(t1_cohort, tmp_path):
    said = {
        True: [{"phantom": True}, {"phantom": False, "root": str(t1_cohort)}, {"root": str(t1_cohort / "Site1")}],
        False: [{"root": str(tmp_path)}],
        None: [{}, {"root": ""}, {"root": str(tmp_path / "gone")}],
    }
    said[None].append({"root": str(t1_cohort), "options": {"datasets": {}}})  # some of several may be
    assert {answer: [of_phantoms(cohort) for cohort in cohorts] for answer, cohorts in said.items()} == {
        answer: [answer] * len(cohorts) for answer, cohorts in said.items()
    }


def test_every_setting_that_changes_the_bytes_changes_the_name():
    changed = [
        {},
        {"spacing": 6.0},
        {"sites": 3},
        {"cases_per_site": 2},
        {"cases_per_site": [2, 3]},
        {"seed": 1},
        {"options": {"smallest_mm3": 1000}},
        {"options": {"smallest_mm3": 2000}},
        {"options": {"form": "icpsr"}},
        {"options": {"form": "icpsr", "smallest_mm3": 1000}},
    ]
    names = [cohort_name("atlas_v1", {**BASE, **item}) for item in changed]
    names.append(cohort_name("atlas_v2", BASE))
    for first, second in itertools.combinations(names, 2):
        assert first != second
    assert all("/" not in name and " " not in name for name in names)
    same = cohort_name("atlas_v1", {**BASE, "spacing": 8, "options": {"smallest_mm3": 1000.0}})
    assert same == names[6], "equal settings, however they are written, have one folder"


def test_an_experiment_with_other_numbers_of_cases_has_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("STROKELAB_DATA", str(tmp_path))
    small, own = root_of("experiment=sgnet_small"), root_of("experiment=sgnet_small", "data.cases_per_site=3")
    plain_options = root_of("data.spacing=4.0", "data.cases_per_site=12")
    assert len({small, own, plain_options}) == 3


def test_a_cohort_under_its_earlier_name_is_used_and_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("STROKELAB_DATA", str(tmp_path))
    words = ["data.spacing=8.0", "data.sites=1", "data.cases_per_site=1", "+data.layout_options.smallest_mm3=1000"]
    earlier = tmp_path / "phantom-atlas_v1-8.0mm-1x1-seed0"
    write_cohort("atlas_v1", earlier, spacing=8.0, sites=1, cases_per_site=1, smallest_mm3=1000, progress=False)
    assert root_of(*words) == str(earlier)
    other = root_of(*words[:3], "+data.layout_options.smallest_mm3=2000")
    assert other != str(earlier), "another content"
    settings = plain(compose("train", words))["data"]
    kept = ("root", "modalities", "layout", "spacing", "sites", "cases_per_site", "phantom_seed", "layout_options")

    class View:
        preparation = Preparation(("T1w",))

    module = Phantom(**{key: settings[key] for key in kept}, view=View(), split=None, n_sites=1)
    assert len(module.cases) == 1
    assert str(earlier) in capsys.readouterr().out.replace("\n", "")


def test_the_remedy_for_a_cohort_of_other_settings_works(tmp_path):
    place = tmp_path / "mine"
    asked = {"spacing": 8.0, "sites": 1, "cases_per_site": 1, "progress": False}
    write_cohort("atlas_v1", place, **asked)
    with pytest.raises(DataError) as refused:
        write_cohort("atlas_v1", place, **asked, seed=1)
    assert "seed = 0" in refused.value.found
    assert "seed = 1" in refused.value.expected
    folder = refused.value.remedy.partition("--out ")[2].partition(" ")[0]
    assert write_cohort("atlas_v1", folder, **asked, seed=1).is_dir()


def test_the_command_and_the_training_name_one_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("STROKELAB_DATA", str(tmp_path))
    words = ["experiment=sgnet_small", "data.sites=2"]
    asked = phantom_settings(words, None, {"cases_per_site": 2})
    assert str(asked.folder) == root_of(*words, "data.cases_per_site=2")
    assert asked.settings["smallest_mm3"] == 1000
    alone = phantom_settings((), "atlas_v1", {"spacing": 8.0, "sites": 1, "cases_per_site": 1})
    assert str(alone.folder) == root_of("data.spacing=8.0", "data.sites=1", "data.cases_per_site=1")
    with pytest.raises(ConfigError, match="data=phantom"):
        phantom_settings(["data=atlas_v1"], None, {})
