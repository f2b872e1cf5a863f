"""Experiments of papers train on what the papers trained on, in the stated precision; the pages say what they do."""

from pathlib import Path

import pytest

from strokelab.campaign.recipes import PAPERS, experiments, recipe_table, settings_of, splits_of, written_table
from strokelab.configuration import compose, plain

DOCS = Path(__file__).resolve().parents[2] / "docs"
SITES = [55, 34, 27, 12, 27, 14, 11, 35, 14]  # Yu 2022, Table II: 229 scans
OWN = {
    "sunet_siss": [(21, 0, 7)] * 4,
    "sunet_spes": [(22, 0, 8)] * 3 + [(24, 0, 6)],
    "sunet_isles2022": [(180, 20, 50)] * 5,  # no paper's
    "resunet3d_atlas": [(182, 26, 31)],
    "resunet3d_atlas_f": [(182, 26, 31)],
    "synthstroke_atlas": [(472, 52, 131)],
    "synthstroke_baseline": [(472, 52, 131)],
    "synthstroke_isles2022": [(180, 20, 50)],  # no paper's
}
EVERY = [(paper, name) for paper in PAPERS for name in experiments(paper)]


@pytest.mark.parametrize(("paper", "name"), EVERY, ids=[name for _, name in EVERY])
def test_every_experiment_trains_on_what_its_paper_trained_on(paper, name):
    splits = splits_of(settings_of(name))
    counts = [(len(split.train), len(split.val), len(split.test)) for split in splits]
    assert counts == OWN.get(name, [(524, 0, 131)] * 5 if paper == "mapping" else [(229 - n, 0, n) for n in SITES])


@pytest.mark.parametrize(
    ("command", "fold", "train"),
    [
        (["model=sgnet", "data=atlas_v1"], 4, 202),
        (["sweep=leave_one_site_out", "data=atlas_v1"], 0, 174),
        (["sweep=sgnet_ablation", "ablation=da", "data=atlas_v1"], 3, 217),
        (["sweep=mapping_schemes", "model=nnunet_topk", "data=atlas_v2"], 2, 524),
        (["model=nnunet", "data=atlas_v2", "split=size_balanced_kfold"], 4, 524),
    ],
    ids=["sgnet", "site by site", "ablation", "schemes", "nnunet"],
)
def test_the_commands_of_the_pages_train_on_as_many(command, fold, train):
    split = splits_of(plain(compose("train", command)))[fold]
    assert (len(split.train), len(split.val)) == (train, 0)


def test_a_validation_part_can_be_asked_for_and_other_splits_keep_theirs():
    asked = splits_of(plain(compose("train", ["model=nnunet", "data=atlas_v2", "split=size_balanced_kfold"])))
    assert len(asked[0].val) == 0
    part = splits_of(plain(compose("train", ["experiment=mapping_default", "split.val_fraction=0.1"])))[0]
    assert (len(part.train), len(part.val), len(part.test)) == (472, 52, 131)
    own = plain(compose("train", ["data=atlas_v2", "split=kfold"]))
    small = plain(compose("train", ["experiment=mapping_small"]))
    assert own["split"]["val_fraction"] == small["split"]["val_fraction"] == 0.1


@pytest.mark.parametrize("trainer", ["cpu", "gpu", "ddp", "slurm"])
@pytest.mark.parametrize(("name", "precision"), [("sgnet_balanced", "32-true"), ("mapping_adversary", "auto")])
def test_a_family_states_its_precision_on_every_trainer(name, precision, trainer):
    composed = plain(compose("train", [f"experiment={name}", f"trainer={trainer}"]))
    assert composed["trainer"]["precision"] == precision


def test_every_experiment_has_the_precision_of_its_family():
    stated = {name: settings_of(name)["trainer"]["precision"] for _, name in EVERY}
    assert stated == {name: "auto" if paper in ("mapping", "synthstroke") else "32-true" for paper, name in EVERY}


def test_deviations_are_named_variants_of_what_they_deviate_from():
    printed, released = settings_of("mapping_dtk10_printed"), settings_of("mapping_dtk10")
    assert [one["trainer"]["max_epochs"] for one in (printed, released)] == [1000, 800]
    assert [one["model"]["loss"]["each"]["dice"] for one in (printed, released)] == [0, 1]
    assert printed["model"]["scheduler"]["total_iters"] == 1000
    momenta = [settings_of(name)["model"]["optimizer"]["momentum"] for name in ("sgnet_sgd_plain", "sgnet_atlas")]
    assert momenta == [0, 0.9]
    raw = settings_of("sgnet_raw_unet2d")
    assert raw["view"]["preparation"]["normalize"] == "none"
    assert [raw["model"][part] for part in ("standardizer", "hemispheres", "adversary")] == [None] * 3


@pytest.mark.parametrize("paper", PAPERS)
def test_the_pages_hold_what_the_command_makes(paper):
    assert written_table(DOCS / "methods" / f"{paper}.md", paper) == recipe_table(paper)
