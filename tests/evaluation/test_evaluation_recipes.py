"""A row of a paper's table is met by its experiment alone: what a run has otherwise is named, table by table."""

from types import SimpleNamespace

import pytest

from strokelab.configuration import compose, plain
from strokelab.evaluation.recipes import unlike_recipes

ALL = frozenset({"standardizer", "adversary", "hemispheres"})
SCHEMES = ("default", "dtk10", "resunet", "selftraining")


def a_run(*overrides, members=()):
    settings = plain(compose("train", list(overrides)))
    settings["cohort"] = {"dataset": "atlas_v2" if settings["name"].startswith(("nnunet", "mapping")) else "atlas_v1"}
    return SimpleNamespace(name=settings["name"], settings=settings, members=members)


def of(found, paper):
    return {word for table, words in found.items() if table.startswith(paper) for word in words}


def test_the_experiment_itself_meets_every_table():
    assert of(unlike_recipes(a_run("experiment=sgnet_atlas"), ALL), "sgnet") == set()
    plain_unet = a_run("experiment=sgnet_atlas", "model=unet2d")
    assert of(unlike_recipes(plain_unet, frozenset()), "sgnet") == set()


@pytest.mark.parametrize(
    ("override", "word"),
    [("loss=dice_bce", "loss"), ("trainer.max_epochs=5", "length"), ("model.optimizer.lr=0.1", "optimiser")],
)
def test_what_differs_is_named(override, word):
    words = of(unlike_recipes(a_run("experiment=sgnet_atlas", "model=unet2d", override), frozenset()), "sgnet")
    assert words
    assert any(word in phrase for phrase in words), words


def test_another_network_is_no_row_of_the_slices():
    assert of(unlike_recipes(a_run("experiment=sgnet_atlas"), None), "sgnet") == set()


@pytest.mark.parametrize("model", ["unet2d_ppm", "nnunet2d"])
def test_rows_of_other_networks_are_met_by_the_recipe_with_their_model(model):
    def words(*overrides):
        run = a_run("experiment=sgnet_atlas", f"model={model}", *overrides)
        run.settings["cohort"]["dataset"] = "atlas_v1"
        if run.settings["trainer"]["precision"] == "auto":
            run.settings["trainer"]["precision"] = "bf16-mixed"  # the machine's choice
        return unlike_recipes(run, None).get("sgnet_table5", ())

    assert words() == ()
    shorter = [word.partition(":")[0] for word in words("trainer.max_epochs=5")]
    assert shorter == ["length", "optimiser"][: 2 if model == "nnunet2d" else 1]  # nnU-Net's rate follows the length
    assert words("trainer.max_epochs=5", "name=mine") == (), "no row of the table"


def test_an_ensemble_is_the_papers_with_all_of_its_schemes():
    members = tuple(a_run(f"experiment=mapping_{scheme}", "data.pseudo=null") for scheme in SCHEMES)
    whole = of(unlike_recipes(SimpleNamespace(name="ensemble", settings={}, members=members), None), "mapping")
    without = of(unlike_recipes(SimpleNamespace(name="ensemble", settings={}, members=members[:3]), None), "mapping")
    missing = {word for word in without if word.startswith("members: none of")}
    assert missing
    assert not missing & whole
