"""conf/sweep: every sweep composes with any model and any data, and asks for the members it says."""

from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from sweep_planning import Planning

from strokelab.configuration import check_choices, compose, plain
from strokelab.configuration.multirun import MULTIRUN, read_multirun
from strokelab.errors import ConfigError
from strokelab.report.paper_tables import load_tables
from strokelab.sweeps.ending import SweepEnd

CONF = Path(__file__).resolve().parents[2] / "conf"
SWEEPS = [path.stem for path in (CONF / "sweep").glob("*.yaml") if path.stem != "search"]
MODELS, DATA = ([path.stem for path in sorted((CONF / group).glob("*.yaml"))] for group in ("model", "data"))


@pytest.mark.parametrize("sweep", sorted(SWEEPS))
def test_every_sweep_composes_with_any_model_and_any_data(sweep, monkeypatch):
    monkeypatch.setenv("STROKELAB_DATA", "somewhere")
    first = sorted(SWEEPS).index(sweep) * len(DATA)  # other models with each sweep
    for index, data in enumerate(DATA):
        model = MODELS[(first + index) % len(MODELS)]
        more = ["data.modalities=[T1w]", "data.n_sites=3"] if data in ("folder", "several", "bids") else []
        settings = plain(
            compose("train", [f"sweep={sweep}", f"model={model}", f"data={data}", "data.root=here", *more])
        )
        assert (settings["name"], settings["data"]["root"]) == (model, "here")
        hydra = HydraConfig.get()
        assert hydra.mode.name == "MULTIRUN"  # without -m, too
        assert hydra.launcher._target_.endswith(".ProcessesLauncher")
        assert hydra.sweep.dir.startswith("multirun/")


def jobs(folder, *task):
    """The members of a sweep, as its own multirun.yaml would tell them."""
    from omegaconf import OmegaConf

    planning = Planning(folder, *task)
    folder.mkdir(exist_ok=True)
    content = yaml.safe_load(OmegaConf.to_yaml(planning.config))
    (folder / MULTIRUN).write_text(yaml.safe_dump(content))
    return [job.folder for job in read_multirun(folder).jobs]


def test_sweeps_ask_for_the_members_they_say(tmp_path):
    assert jobs(tmp_path / "a", "sweep=cross_validation") == [f"sgnet-fold{fold}-seed0" for fold in range(5)]
    ten = jobs(tmp_path / "b", "sweep=cross_validation", "split.folds=10", "model=unet2d")
    assert ten == [f"unet2d-fold{fold}-seed0" for fold in range(10)]
    assert len(jobs(tmp_path / "c", "sweep=leave_one_site_out", "data=atlas_v1", "data.root=x")) == 9
    rows = jobs(tmp_path / "d", "sweep=sgnet_ablation")
    assert len(rows) == 18
    assert rows[0] == "sgnet-baseline-fold0-seed0"
    assert jobs(tmp_path / "e", "sweep=sgnet_table3", "data.root=x") == rows
    for name in ("mapping_table1", "mapping_schemes"):
        assert len(jobs(tmp_path / name, f"sweep={name}", "data.root=x")) == 15


def test_the_sweep_of_table_5_trains_every_row_with_every_site_held_out(tmp_path):
    """Rows whose model is there; what a member is asked for is the recipe of its row."""
    (table,) = load_tables(CONF, "sgnet_table5")
    rows = ["unet2d" if not row.parts else "sgnet" for row in table.rows if row.parts is not None]
    rows += [name for row in table.rows for name in row.models if name in MODELS]
    members = jobs(tmp_path / "a", "sweep=sgnet_table5", "data.root=x")
    assert sorted(members) == sorted(f"{name}-fold{fold}-seed0" for name in rows for fold in range(9))
    some = jobs(tmp_path / "b", "sweep=sgnet_table5", "data.root=x", "model=pspnet", "protocol=authors")
    assert some[0] == "pspnet_authors-fold0-seed0"
    member = ["experiment=sgnet_atlas", "data.root=x", "model=unet2d_ppm", "split.fold=4"]
    settings, recipe = (plain(compose("train", [*member, *more])) for more in (["sweep=sgnet_table5"], []))
    del settings["run_dir"], recipe["run_dir"]
    assert settings == recipe


def test_a_row_of_the_ablation_is_what_it_is_called(tmp_path):
    rows = Planning(tmp_path).plan("ablation=baseline", "ablation=da_sl_main;seed=1")
    assert [member.folder.name for member in rows] == ["0-sgnet-baseline-seed0", "1-sgnet-da-sl-main-seed1"]
    for extra in ("model=sgnet", "adversary=none", "name=mine;standardizer=main"):
        with pytest.raises(ConfigError, match="row of the ablation"):
            Planning(tmp_path).plan(f"ablation=baseline;{extra}")
    # Another network is taken apart under a name of its own, whatever parts it comes with.
    check_choices(["ablation=baseline", "model=sgnet", "name=mine"])
    named, usual = (
        plain(compose("train", ["ablation=baseline", *more]))["model"] for more in ([], ["model=sgnet", "name=mine"])
    )
    assert named == usual
    check_choices(["ablation=null", "model=sgnet"])


def test_a_sweep_over_an_unknown_number_says_which(tmp_path, capsys):
    task = ["sweep=leave_one_site_out", "data=folder", "data.root=x", "data.modalities=[T1w]"]
    with pytest.raises(SystemExit) as stop:
        SweepEnd().on_multirun_start(Planning(tmp_path, *task).config)
    assert stop.value.code == 1
    assert "add data.n_sites=..." in capsys.readouterr().out
    SweepEnd().on_multirun_start(Planning(tmp_path, *task, "data.n_sites=4").config)
