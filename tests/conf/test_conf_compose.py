"""Every file of conf/ composes, and what composes says what it is."""

import itertools
from pathlib import Path

import pytest
import yaml

from strokelab.configuration import check_fit, check_keys, compose, plain
from strokelab.training import PLAIN_KEYS, SECTIONS

CONF = Path(__file__).resolve().parents[2] / "conf"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize(("model", "data"), list(itertools.product(options("model"), options("data"))))
def test_every_model_composes_with_every_dataset(model, data, monkeypatch):
    monkeypatch.setenv("STROKELAB_DATA", "somewhere")
    overrides = [f"model={model}", f"data={data}", "data.root=somewhere"]
    if data in ("bids", "folder", "several"):
        overrides.append("data.modalities=[T1w]")
    settings = plain(compose("train", overrides))
    check_keys(settings, (*SECTIONS, *PLAIN_KEYS), "config")
    assert settings["model"]["_target_"].startswith("strokelab.models.")
    assert settings["view"]["_target_"] == "strokelab.view.View"
    assert settings["view"]["preparation"]["modalities"] == settings["data"]["modalities"]
    assert settings["name"] == model


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={option}"
        for group in ("adversary", "hemispheres", "standardizer", "split", "trainer", "callbacks", "logger")
        for option in options(group)
    ],
)
def test_every_option_composes(choice):
    overrides = [choice] + (["split.path=folds.csv"] if choice == "split=from_file" else [])
    settings = plain(compose("train", overrides))
    check_keys(settings, (*SECTIONS, *PLAIN_KEYS), "config")
    assert settings["model"]["network"]["in_channels"] == "???"  # late facts stay open until the data are known


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_fits(name, monkeypatch):
    monkeypatch.setenv("STROKELAB_DATA", "somewhere")
    check_fit(plain(compose("train", [f"experiment={name}"])))


ABLATION = {
    "baseline": set(),
    "da": {"hemispheres"},
    "sl": {"adversary"},
    "da_sl": {"hemispheres", "adversary"},
    "sl_main": {"adversary", "standardizer"},
    "da_sl_main": {"hemispheres", "adversary", "standardizer"},
}


@pytest.mark.parametrize("name", options("ablation"))
def test_the_six_rows_of_the_ablation(name):
    """Yu 2022, Table III: which parts each row has; the last row is the model `sgnet`."""
    model = plain(compose("train", [f"ablation={name}"]))["model"]
    parts = {part for part in ("hemispheres", "adversary", "standardizer") if model.get(part)}
    assert parts == ABLATION[name]
    if name == "da_sl_main":
        assert model == plain(compose("train", ["model=sgnet"]))["model"]


def test_the_ablation_sweep_lists_exactly_its_rows():
    params = yaml.safe_load((CONF / "sweep/sgnet_ablation.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert set(params["ablation"].split(",")) == set(options("ablation")) == set(ABLATION)


VARIANTS = {
    "baseline": ("sunet_baseline", False, "softmax_cross_entropy", "random"),
    "balanced": ("sunet_balanced", False, "FocalLoss", "regular"),
    "proposed": ("sunet", True, "FocalLoss", "regular"),
}


@pytest.mark.parametrize("experiment", ["sunet_siss", "sunet_spes", "sunet_small"])
@pytest.mark.parametrize("name", options("variant"))
def test_the_three_variants_of_sunet(name, experiment, monkeypatch):
    """Clèrigues 2019, Table 1."""
    monkeypatch.setenv("STROKELAB_DATA", "somewhere")
    settings = plain(compose("train", [f"experiment={experiment}", f"variant={name}"]))
    check_fit(settings)
    loss = settings["model"]["loss"]["_target_"].rpartition(".")[2]
    mirrored, choose = settings["view"]["preparation"]["mirror"]["enabled"], settings["view"]["sampler"]["choose"]
    assert (settings["name"], mirrored, loss, choose) == VARIANTS[name]


def test_the_sweep_of_sunets_table_lists_exactly_its_variants():
    params = yaml.safe_load((CONF / "sweep/sunet_table1.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert set(params["variant"].split(",")) == set(options("variant")) == set(VARIANTS)


def test_yaml_files_open_with_a_comment():
    texts = {str(path.relative_to(CONF)): path.read_text() for path in CONF.rglob("*.yaml")}
    assert not [name for name, text in texts.items() if text.strip() and not text.startswith("#")]
