"""Several datasets as one cohort: names, channels, splits, weights; a training on it is evaluated and goes on."""

import csv
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from tiny_runs import SHORT_MAIN

from strokelab.configuration import build, check_choices, compose, plain
from strokelab.data import read_cases
from strokelab.data.several import member_of, members_of
from strokelab.data.several_module import EachDataset
from strokelab.data.splits import KFold, LeaveOneSiteOut
from strokelab.errors import ConfigError, DataError
from strokelab.evaluation import evaluate
from strokelab.evaluation.datasets import datasets_of
from strokelab.evaluation.matrix import cells_of, matrix
from strokelab.phantoms.cohort import write_cohort


@pytest.fixture(scope="module")
def v2(tmp_path_factory, t1_cohort):
    """ATLAS v2.0 in which the first subject is the first of ATLAS v1.2."""
    root = tmp_path_factory.mktemp("v2") / "atlas_v2"
    write_cohort("atlas_v2", root, spacing=8.0, sites=2, cases_per_site=3, progress=False)
    (table,) = root.glob("*MetaData*.csv")
    with table.open(newline="") as handle:
        rows = list(csv.reader(handle))
    flag, number = (rows[0].index(name) for name in ("ATLAS 1.2", "INDI Subject ID"))
    old = read_cases("atlas_v1", t1_cohort)[0].subject_id
    for place, row in enumerate(rows[1:]):
        row[flag], row[number] = ("Yes", old) if place == 0 else ("No", "")
    with table.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return root


@pytest.fixture(scope="module")
def both(t1_cohort, isles_cohort):
    return {
        "atlas_v1": {"root": str(t1_cohort)},
        "isles2022": {"root": str(isles_cohort), "contrasts": {"T1w": "FLAIR"}},
    }


def test_ids_subjects_and_sites_bear_the_name_and_channels_are_named(both, t1_cohort, isles_cohort):
    cases = read_cases("several", ".", datasets=both)
    alone = [*read_cases("atlas_v1", t1_cohort), *read_cases("isles2022", isles_cohort)]
    assert [case.case_id for case in cases] == [f"{case.dataset}_{case.case_id}" for case in alone]
    assert cases[0].site == f"atlas_v1 {alone[0].site}"
    last, own = cases[-1], alone[-1]
    assert last.images["T1w"] == own.images["FLAIR"]
    assert last.reference_image == own.reference_image, "the mask stays on the grid of its image"
    assert member_of(last.subject_id, both) == ("isles2022", own.subject_id)
    kept = read_cases("several", ".", datasets=both, exclude=[cases[0].subject_id])
    assert cases[0].subject_id not in {case.subject_id for case in kept}


def test_a_dataset_of_unknown_sites_is_one_site(both, isles_cohort, monkeypatch):
    from strokelab.data import readers

    whole = readers.read
    monkeypatch.setattr(readers, "read", lambda *at, **how: [replace(one, site=None) for one in whole(*at, **how)])
    sites = {case.site for case in read_cases("several", ".", datasets=both) if case.case_id.startswith("isles")}
    assert sites == {"isles2022"}


def test_subjects_of_both_atlas_releases_are_one_subject_in_one_part(t1_cohort, v2):
    datasets = {"atlas_v1": {"root": str(t1_cohort)}, "atlas_v2": {"root": str(v2)}}
    cases = read_cases("several", ".", datasets=datasets)
    twin = next(
        case for case in cases if case.meta["dataset"] == "atlas_v2" and case.subject_id.startswith("atlas_v1_")
    )
    same = [case.case_id for case in cases if case.subject_id == twin.subject_id]
    assert len({case_id.split("_sub-")[0] for case_id in same}) > 1
    for fold in range(3):
        split = EachDataset(KFold(fold, 3, 0))(cases)
        sides = [name for name in ("train", "val", "test") if {*same} & {*getattr(split, name)}]
        assert len(sides) == 1
    (table,) = v2.glob("*MetaData*.csv")
    table.rename(v2.parent / "aside.csv")
    try:
        with pytest.raises(DataError, match="no metadata"):
            read_cases("several", ".", datasets=datasets)
    finally:
        (v2.parent / "aside.csv").rename(table)


def test_splits_are_made_in_each_dataset_and_sites_are_one_list(both):
    cases = read_cases("several", ".", datasets=both)
    for fold in range(3):
        split = EachDataset(KFold(fold, 3, 0))(cases)
        counts = pd.Series([case_id.partition("_")[0] for case_id in split.test]).value_counts()
        assert counts["isles2022"] == 2, "six subjects in three folds"
        assert counts["atlas"] >= 2
    site = next(case.site for case in cases if case.meta["dataset"] == "isles2022")
    split = EachDataset(LeaveOneSiteOut(site, 0))(cases)
    assert {case_id.partition("_")[0] for case_id in split.test} == {"isles2022"}
    assert {case_id.partition("_")[0] for case_id in split.train} == {"atlas", "isles2022"}


def test_what_cannot_be_several_datasets(both, isles_cohort):
    for wrong, found in {
        ("atlas_v1",): "two datasets or more",
        ("atlas_v1", "atlas_v1"): "each once",
    }.items():
        with pytest.raises(ConfigError, match=found):
            members_of(list(wrong), isles_cohort)
    for node, found in {"weight": 0, "wieght": 2}.items():
        with pytest.raises(ConfigError, match="weight"):
            members_of({**both, "isles2022": {node: found}}, isles_cohort)
    with pytest.raises(ConfigError, match="folder-name"):
        members_of({**both, "isles2022": "folder-name"}, isles_cohort)
    taken = {**both, "isles2022": {"root": str(isles_cohort), "contrasts": {"DWI": "FLAIR"}}}
    with pytest.raises(ConfigError, match="another image"):
        read_cases("several", ".", datasets=taken)


def test_a_list_of_datasets_that_hydra_would_merge_is_an_error_with_the_right_words():
    with pytest.raises(ConfigError) as caught:
        check_choices(["data=[atlas_v1,isles2022]"])
    word = caught.value.remedy.split()[2]
    assert word == "data.datasets=[atlas_v1,isles2022]"
    settings = plain(compose("train", ["data=several", word, "data.modalities=[T1w]"]))
    assert settings["data"]["datasets"] == ["atlas_v1", "isles2022"]
    check_choices(["data=several", word])


def datamodule(both, *words, **weights):
    node = {name: both[name] | ({"weight": weights[name]} if name in weights else {}) for name in both}
    settings = plain(compose("train", ["data=several", "data.modalities=[T1w]", "model=nnunet", *words]))
    view = SimpleNamespace(preparation=SimpleNamespace(modalities=("T1w",)))
    return build(
        {**settings["data"], "datasets": node, "batch_size": 2, "val_fraction": 0}, view=view, split=KFold(0, 3, 0)
    )


def test_cases_are_sampled_by_the_weight_of_their_dataset(both):
    means = SimpleNamespace(prepared=lambda ids: [*ids], view=None)
    alike = datamodule(both).training.sourced(means)
    assert [source.weight for source in alike] == [1.0]
    sources = datamodule(both, isles2022=3).training.sourced(means)
    assert [source.weight for source in sources] == [1.0, 3.0]
    assert {case_id.partition("_")[0] for case_id in sources[1].cases} == {"isles2022"}


def check_matrix(own, run, both, out):
    """The cells of the datasets of a training have the numbers of its own table, and FLAIR, given as T1w, stands."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*voxels of.*")
        matrix([run], [f"{name}={node['root']}" for name, node in both.items()], out)
    rows = pd.read_csv(out / "cases.csv")
    assert set(rows.query("dataset == 'isles2022'")["modality"]) == {"DWI", "ADC", "FLAIR", "ensemble"}
    rows = rows[rows["main"]]
    assert rows.groupby("dataset")["modality"].unique().map(list).to_dict() == {
        "atlas_v1": ["T1w"],
        "isles2022": ["FLAIR"],
    }
    found = rows.set_index(rows["dataset"] + "_" + rows["case"]).loc[own["case"]]
    assert len(found) == len(rows) == len(own)
    numbers = [name for name in own.select_dtypes("number") if name in rows and not own[name].isna().all()]
    assert {"dice", "tp", "hd95", "volume_difference"} <= {*numbers}
    for name in numbers:
        assert list(found[name].fillna(-1)) == list(own[name].fillna(-1)), name


@pytest.mark.slow
def test_a_training_on_two_datasets_is_evaluated_resumed_and_tested_elsewhere(both, tiny, doors, t1_cohort, tmp_path):
    """The site adversary and site-balanced order over (dataset, site)."""
    named = ",".join(
        f"{name}:{{root:'{node['root']}'" + (",contrasts:{T1w:FLAIR}}" if "contrasts" in node else "}")
        for name, node in both.items()
    )
    settings = [word for word in tiny if not word.startswith(("data=", "data.root", "data.n_sites"))]
    settings = ["data=several", f"data.datasets={{{named}}}", "data.modalities=[T1w]", *settings, SHORT_MAIN]
    settings += ["split=kfold", "split.folds=3", "view.preparation.spacing=[8,8,8]"]
    settings += ["view.order._target_=strokelab.sampling.site_balanced.SiteBalanced"]
    run = tmp_path / "run"
    doors.train(*settings, "trainer.max_epochs=1", f"run_dir={run}", cwd=tmp_path).check()
    sites = pd.read_json(run / "sites.json", typ="series")
    assert {name.partition(" ")[0] for name in sites.index} == {"atlas_v1", "isles2022"}
    own = pd.read_csv(run / "cases.csv")
    assert not own["error"].notna().any()
    evaluate(
        compose("evaluate", [f"runs=['{run}']", f"out='{tmp_path / 'out'}'", "save_predictions=false", "rescore=true"])
    )
    again = pd.read_csv(tmp_path / "out/cases.csv")
    assert list(again["dice"]) == list(own["dice"])
    check_matrix(own, run, both, tmp_path / "matrix")
    doors.train(f"resume={run}", "trainer.max_epochs=2", cwd=tmp_path).check()
    from strokelab.evaluation.candidates import candidates_of

    (cell,) = cells_of(candidates_of([run], [], checkpoint=None, allow=[]), datasets_of([f"atlas_v1={t1_cohort}"]))
    tested = {case_id.removeprefix("atlas_v1_") for case_id in own["case"] if case_id.startswith("atlas_v1_")}
    assert {case.case_id for case in cell.cases} == tested
