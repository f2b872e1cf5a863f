"""What a sweep asked for, told from its multirun.yaml alone: as Hydra would, without running anything in it."""

import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.configuration.composition import compose, conf_folder
from strokelab.configuration.multirun import MULTIRUN, read_multirun
from strokelab.errors import RunError

HYDRA = {
    "sweep": {"dir": "/elsewhere", "subdir": "${name}-fold${split.fold}-seed${seed}"},
    "sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None},
    "overrides": {"hydra": [], "task": []},
    "runtime": {"choices": {"ablation": None, "model": "sgnet", "data": "phantom"}},
}
REST = {"name": "${hydra:runtime.choices.model}", "seed": 0, "split": {"fold": 0}, "data": {"n_sites": "${.sites}"}}


def written(folder, *task, params=None, subdir=None, **rest):
    hydra = {**HYDRA, "sweeper": {**HYDRA["sweeper"], "params": params}, "overrides": {"task": list(task)}}
    if subdir is not None:
        hydra["sweep"] = {"dir": "x", "subdir": subdir}
    folder.mkdir(parents=True, exist_ok=True)
    content = {"hydra": hydra, **REST, "data": {**REST["data"], "sites": 3}, **rest}
    (folder / MULTIRUN).write_text(yaml.safe_dump(content))
    return folder


def places(folder):
    return [job.folder for job in read_multirun(folder).jobs]


def test_values_are_multiplied_out_in_hydra_s_order(tmp_path):
    sweep = read_multirun(written(tmp_path, "model=sgnet,unet2d", params={"split.fold": "range(0,${data.n_sites})"}))
    assert sweep.swept == ("split.fold", "model")
    assert [job.folder for job in sweep.jobs] == [
        f"{model}-fold{fold}-seed0" for fold in range(3) for model in ("sgnet", "unet2d")
    ]
    assert sweep.jobs[3].command == "split.fold=1 model=unet2d"


def test_the_command_line_replaces_what_the_sweep_file_says(tmp_path):
    sweep = read_multirun(written(tmp_path, "split.fold=1,2", "seed=7", params={"split.fold": "range(0,9)"}))
    assert sweep.swept == ("split.fold",)
    assert [job.folder for job in sweep.jobs] == ["sgnet-fold1-seed7", "sgnet-fold2-seed7"]


def test_ablations_are_called_what_their_files_call_them(tmp_path):
    names = places(written(tmp_path, "ablation=baseline,da_sl_main"))
    assert names == ["sgnet-baseline-fold0-seed0", "sgnet-da-sl-main-fold0-seed0"]
    assert places(written(tmp_path, "ablation=baseline,da", "name=mine")) == ["mine-fold0-seed0"] * 2


@pytest.mark.parametrize(
    "command",
    [
        ["sweep=leave_one_site_out", "experiment=sgnet_small", "model=unet2d", "split.fold=3"],
        ["sweep=sgnet_ablation", "ablation=da_sl", "split.fold=4"],
        ["sweep=cross_validation", "split.fold=2", "seed=5"],
        ["sweep=seeds", "seed=2"],
        ["model.optimizer.lr=0.01", "seed=1"],
        ["name=a b", "split.fold=Site3", "sweep=cross_validation"],
    ],
    ids=" ".join,
)
def test_names_are_those_hydra_gives(tmp_path, command):
    """Hydra composes what one member of a sweep would be; the other side sees no more than multirun.yaml."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    compose("train")  # leaves Hydra as it found it
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = hydra_compose("train", overrides=[*command, "hydra.job.num=0"], return_hydra_config=True)
        # What Hydra saves: without the overrides that are swept (all of them, to make it hard), unresolved.
        groups = [item for item in command if item.startswith(("sweep=", "experiment="))]
        main = hydra_compose("train", overrides=groups, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    expected = cfg.hydra.sweep.subdir
    OmegaConf.save(main, tmp_path / MULTIRUN)
    content = yaml.safe_load((tmp_path / MULTIRUN).read_text())
    content["hydra"]["overrides"]["task"] = command
    content["hydra"]["sweeper"]["params"] = None
    (tmp_path / MULTIRUN).write_text(yaml.safe_dump(content))
    assert places(tmp_path) == [expected]


@pytest.mark.parametrize(
    ("subdir", "name"),
    [
        ("${hydra.job.num}-${name}", "1-sgnet"),
        ("${hydra:job.num}", "1"),
        ("${hydra.job.override_dirname}", "seed=2"),
        ("${data.n_sites}/${seed}", "3/2"),
        ("${now:%Y}-${seed}", None),
        ("${oc.env:HOME}", None),
        ("${nothing.there}", None),
        ("${loop}", None),
        ("../../${seed}", None),
        ("/etc/${seed}", None),
        ("", None),
    ],
)
def test_patterns_of_folders(tmp_path, subdir, name):
    folder = written(tmp_path, "seed=1,2", subdir=subdir, loop="${loop}")
    assert places(folder)[1] == name


def test_quotes_and_choices(tmp_path):
    folder = written(tmp_path, "seed=choice(3,1)", "name='a, b',\"c\"", "split.fold=range(4,0,-2)")
    assert places(folder) == [
        f"{name}-fold{fold}-seed{seed}" for seed in (3, 1) for name in ("a, b", "c") for fold in (4, 2)
    ]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (["lr=interval(0,1)"], "INTERVAL"),
        (["experiment=glob(*)"], "ConfigLoader"),
        (["seed=range(0,1000000000)"], "10000"),
        (["seed=range(0,200)", "x=range(0,200)"], "10000"),
        (["seed=1,"], ""),
    ],
)
def test_sweeps_that_cannot_be_told_say_why(tmp_path, task, reason):
    sweep = read_multirun(written(tmp_path, *task))
    assert sweep.jobs == ()
    assert sweep.reason
    assert reason in sweep.reason


def test_sweepers_that_choose_as_they_go(tmp_path):
    folder = written(tmp_path, "seed=1,2")
    content = yaml.safe_load((folder / MULTIRUN).read_text())
    content["hydra"]["sweeper"]["_target_"] = "hydra_plugins.optuna.OptunaSweeper"
    (folder / MULTIRUN).write_text(yaml.safe_dump(content))
    assert "OptunaSweeper" in read_multirun(folder).reason


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch HIT']",
        "hydra: !!python/object/apply:os.system ['touch HIT']",
        "a: [",
        "",
        "- 1",
        "hydra: 3",
        "hydra: {sweep: {}, sweeper: 1}",
        "\0\1",
    ],
)
def test_files_that_hydra_did_not_write_are_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / MULTIRUN).write_text(text)
    with pytest.raises(RunError):
        read_multirun(tmp_path)
    assert not (tmp_path / "HIT").exists()


def test_a_stranger_s_sweep_runs_nothing_and_reads_no_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    folder = written(
        tmp_path,
        "name=${oc.env:SECRET},b",
        "seed=1",
        "+evil={_target_: os.system, command: 'touch HIT'}",
        "model=../../../evil",
        subdir="${name}",
        evil={"_target_": "os.system"},
    )
    code = (
        "import sys, pathlib; from strokelab.configuration.multirun import read_multirun\n"
        f"sweep = read_multirun(pathlib.Path({str(folder)!r}))\n"
        "print([job.folder for job in sweep.jobs], sweep.reason)\n"
        "print('omegaconf resolvers called' if 'told' in str(sweep) else 'nothing called')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "told" not in done.stdout
    assert "'b'" in done.stdout
    assert not (tmp_path / "HIT").exists()


def test_a_folder_without_the_file_is_no_sweep(tmp_path):
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(RunError, match="runs="):
            read_multirun(folder)


@settings(max_examples=30, deadline=None)
@given(
    folds=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
)
def test_every_member_has_a_place_of_its_own(tmp_path_factory, folds, seeds):
    folder = tmp_path_factory.mktemp("multirun")
    sweep = read_multirun(
        written(folder, f"split.fold={','.join(map(str, folds))}", params={"seed": ",".join(map(str, seeds))})
    )
    assert len({job.folder for job in sweep.jobs}) == len(folds) * len(seeds)
    assert {job.overrides["seed"] for job in sweep.jobs} == set(map(str, seeds))
