"""Runs of an evaluation are told apart; no run and no result counts twice."""

import shutil
from pathlib import Path

import pytest
import yaml
from evaluation_settings import evaluation_settings

from strokelab.errors import DataError, RunError
from strokelab.evaluation.entries import entries_of
from strokelab.evaluation.sweep import Finished


@pytest.fixture
def variant(trained_run, tmp_path):
    """A copy of the trained run whose config says otherwise: ``variant("a", seed=1)``."""

    def make(folder, name="sgnet", seed=0, **split):
        place = Path(shutil.copytree(trained_run, tmp_path / folder))
        config = yaml.safe_load((place / "config.yaml").read_text())
        config |= {"name": name, "seed": seed, "split": {**config["split"], **split}}
        (place / "config.yaml").write_text(yaml.safe_dump(config))
        return place

    return make


def member(folder, **overrides):
    return Finished(folder, folder.name, {key.replace("__", "."): str(value) for key, value in overrides.items()})


def names(folders, members=(), **changed):
    entries = entries_of([str(folder) for folder in folders], list(members), evaluation_settings(**changed))
    return [(entry.label, entry.model) for entry in entries]


def test_seeds_and_folds_of_a_model_are_its_runs(variant):
    members = [
        member(variant("a"), seed=0, split__fold=0),
        member(variant("b", seed=1), seed=1, split__fold=0),
        member(variant("c", fold=1), seed=0, split__fold=1),
        member(variant("d", name="unet2d"), seed=0, split__fold=0, model="unet2d"),
    ]
    assert names([], members) == [("a", "sgnet"), ("b", "sgnet"), ("c", "sgnet"), ("d", "unet2d")]


def test_other_swept_settings_make_other_models(variant):
    members = [
        member(variant("a"), model="sgnet", model__optimizer__lr=0.1, seed=0),
        member(variant("b"), model="sgnet", model__optimizer__lr=0.2, seed=0),
        member(variant("c", name="unet2d"), model="unet2d", model__optimizer__lr=0.1, seed=0),
    ]
    assert [model for _, model in names([], members)] == ["sgnet lr=0.1", "sgnet lr=0.2", "unet2d"]


def test_seeds_of_two_recipes_are_two_models(variant):
    one, other = variant("a"), variant("b", seed=1)
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["model"]["loss"]["over"] = "sample"
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    assert [model for _, model in names([one, other])] == ["sgnet over=batch", "sgnet over=sample"]


def trained_with(place, **trainer):
    config = yaml.safe_load((place / "config.yaml").read_text())
    config["trainer"] |= trainer
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return place


LONG = {"max_epochs": 77, "limit_train_batches": 31, "gradient_clip_val": 0.125}


def test_settings_that_make_a_long_name_give_way_to_folders_and_are_kept_beside_it(variant):
    runs = [variant("a"), trained_with(variant("b", seed=1), **LONG)]
    entries = entries_of([str(run) for run in runs], [], evaluation_settings())
    assert [(entry.label, entry.model) for entry in entries] == [("sgnet a", "sgnet a"), ("sgnet b", "sgnet b")]
    told = [entry.differs.split(", ") for entry in entries]
    assert [len(words) for words in told] == [3, 3]
    assert told[1] == [f"{key}={value}" for key, value in LONG.items()]


def test_a_long_named_model_of_several_folds_is_called_by_its_first(variant):
    recipe = [trained_with(variant(f"b{fold}", fold=fold), **LONG) for fold in range(3)]
    found = names([variant("a0"), *recipe])
    assert found[0] == ("sgnet a0", "sgnet a0")
    assert found[1:] == [(f"sgnet b{fold}", "sgnet b0 and 2 more") for fold in range(3)]


def test_a_swept_setting_that_makes_a_long_name_gives_way_to_the_members_folder(variant):
    members = [
        member(variant(name), model__loss__weights_of_all_classes=f"[{weight},{weight},{weight}]")
        for name, weight in (("m0", 0.25), ("m1", 0.75))
    ]
    entries = entries_of([], members, evaluation_settings())
    assert [entry.model for entry in entries] == ["sgnet m0", "sgnet m1"]
    assert [entry.differs for entry in entries] == [
        f"weights_of_all_classes=[{weight},{weight},{weight}]" for weight in (0.25, 0.75)
    ]


def test_folders_that_are_longer_than_the_settings_do_not_take_their_place(variant):
    members = [
        member(variant(f"plane_{plane}_and_normalisation_{kind}"), view__plane=plane, view__normalize=kind)
        for plane, kind in (("axial", "zscore_pixel"), ("coronal", "zscore_slice"))
    ]
    entries = entries_of([], members, evaluation_settings())
    assert [entry.model for entry in entries] == [
        "sgnet plane=axial normalize=zscore_pixel",
        "sgnet plane=coronal normalize=zscore_slice",
    ]
    assert [entry.differs for entry in entries] == ["", ""]


def test_trainings_that_differ_only_in_a_fourth_setting_are_never_averaged(variant):
    """Three words that tell others apart are alike for these two."""
    one, other = (
        trained_with(variant("a"), **LONG),
        trained_with(variant("b", seed=1), **LONG | {"accumulate_grad_batches": 9}),
    )
    found = [model for _, model in names([one, other, variant("c", seed=2)])]
    assert len(set(found)) == 3


def test_folders_of_one_name_are_told_apart_by_those_above(variant):
    one, other = variant("first/run"), variant("second/run", seed=1)
    assert [label for label, _ in names([one, other])] == ["sgnet first/run", "sgnet second/run"]


def test_runs_named_one_by_one(variant):
    one, other, third = variant("a"), variant("b", seed=1), variant("c", name="unet2d")
    assert names([one, third]) == [("sgnet", "sgnet"), ("unet2d", "unet2d")]
    assert names([one, other]) == [("sgnet a", "sgnet"), ("sgnet b", "sgnet")]


def test_two_runs_that_differ_in_nothing_we_know_are_two_models(variant):
    """Somebody compares two trainings of one model, e.g. with other code: their results are never averaged."""
    assert names([variant("a"), variant("b")]) == [("sgnet a", "sgnet a"), ("sgnet b", "sgnet b")]


def test_runs_beside_a_sweep(variant):
    members = [member(variant("sgnet-fold0"), split__fold=0)]
    assert names([variant("mine", name="unet2d")], members) == [("unet2d", "unet2d"), ("sgnet-fold0", "sgnet")]


def test_a_result_that_would_count_twice_is_refused_by_name(variant):
    first, again = variant("first"), variant("again")
    with pytest.raises(RunError) as caught:
        names([], [member(first, split__fold=0), member(again, split__fold=0)])
    for word in ("031", "sgnet", str(first), str(again), "name="):
        assert word in str(caught.value)
    with pytest.raises(RunError, match="a second time"):
        names([first], [member(again)])


def test_a_run_named_twice_is_refused(variant, monkeypatch):
    one = variant("a")
    monkeypatch.chdir(one.parent)
    with pytest.raises(RunError, match="2 times"):
        names(["a", one])
    with pytest.raises(RunError, match="2 times"):
        names([one], [member(one)])


def test_the_dataset_is_read_once_for_all(variant, monkeypatch):
    from strokelab.evaluation import cohort

    calls = []
    original = cohort.read_cases
    monkeypatch.setattr(
        cohort, "read_cases", lambda *given, **options: calls.append(given) or original(*given, **options)
    )
    names([variant("a"), variant("b", seed=1), variant("c", seed=2)])
    assert len(calls) == 1


def test_weights_beyond_the_budget_are_let_go(variant, monkeypatch):
    import gc

    from strokelab.evaluation import entries
    from strokelab.models.segmenter import Segmenter

    def models():
        gc.collect()
        return sum(type(thing) is Segmenter for thing in gc.get_objects())

    before = models()
    monkeypatch.setattr(entries, "_KEPT_GB", 0.0)
    found = entries_of([str(variant(name, seed=seed)) for seed, name in enumerate("abc")], [], evaluation_settings())
    assert models() == before + 1, "one may always stay"
    assert [one.load(evaluation_settings()).folder.name for one in found] == ["a", "b", "c"]
    assert models() == before + 1
    assert found[0].load(evaluation_settings()) is found[0].load(evaluation_settings())


def test_data_that_are_elsewhere(variant):
    """A sweep copied to a laptop: its members' own tables may do. A run named by hand is to be predicted."""
    place = variant("a")
    config = yaml.safe_load((place / "config.yaml").read_text())
    config["cohort"]["root"] = "/nowhere/at/all"
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(DataError, match="nowhere"):
        names([place])
    entry = entries_of([], [member(place)], evaluation_settings())[0]
    assert entry.cohort.cases == ()
    assert "nowhere" in entry.cohort.absent
    with pytest.raises(RunError, match="a second time"):
        names([], [member(place), member(Path(shutil.copytree(place, place.parent / "b")))])
