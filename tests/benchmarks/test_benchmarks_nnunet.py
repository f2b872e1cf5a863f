"""nnU-Net beside us: its environment is found or asked for, and it gets the plan of our runs."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from strokelab import runs
from strokelab.errors import RunError
from strokelab.files import write_text

ROOT = Path(__file__).parents[2]


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.peer")


@pytest.fixture
def nnunet_phantoms(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.nnunet_phantoms")


def test_without_its_environment_the_remedy_is_said(peer, monkeypatch):
    monkeypatch.delenv(peer.VARIABLE, raising=False)
    assert not peer.peer_is_there()
    with pytest.raises(peer.NoPeerError, match="pip install nnunetv2"):
        peer.in_peer("benchmarks.peer", "numpy")
    monkeypatch.setenv(peer.VARIABLE, "no-such-python")
    with pytest.raises(peer.NoPeerError, match="no-such-python"):
        peer.peer_python()


def test_a_script_answers_from_there_and_its_failure_is_told(peer, monkeypatch):
    monkeypatch.setenv(peer.VARIABLE, sys.executable)  # any environment will do for this
    assert list(peer.in_peer("benchmarks.peer", "numpy", "torch")) == ["numpy", "torch"]
    with pytest.raises(RuntimeError, match="no-such-package"):
        peer.in_peer("benchmarks.peer", "no-such-package")


def _run(folder, name, network, state="finished"):
    settings = {
        "name": name,
        "model": {"network": network},
        "view": {"sampler": {"patch": [16, 24, 32], "iterations_per_epoch": 20}},
        "postprocess": {"_target_": "x"},
        "cohort": {"dataset": "atlas_v2", "root": "data"},
        "data": {"batch_size": 3},
        "trainer": {"max_epochs": 7},
    }
    folder.mkdir(parents=True)
    write_text(folder / "config.yaml", json.dumps(settings))
    runs.write_status(folder, state)


def test_nnunet_gets_the_plan_and_the_length_of_our_runs(nnunet_phantoms, tmp_path):
    network = {
        "_target_": nnunet_phantoms.NETWORK,
        "widths": [8, 16, 32],
        "kernels": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [1, 2, 2]],
        "residual": True,
        "blocks_encoder": [1, 2],
        "units_decoder": 1,
    }
    for fold in (1, 0):
        _run(tmp_path / f"net-fold{fold}", "net", network)
    _run(tmp_path / "net-fold2", "net", network, state="killed")
    _run(tmp_path / "other", "unet2d", {"_target_": "strokelab.networks.unet.UNet"})
    method = nnunet_phantoms.method_of(tmp_path, None)
    assert [folder.name for folder in method.folders] == ["net-fold0", "net-fold1"]
    assert method.length == {"epochs": 7, "iterations": 20}
    assert method.plan["patch"] == [16, 24, 32]
    assert method.plan["blocks"] == [1, 2, 2]
    assert (method.plan["batch_size"], method.plan["units"], method.plan["residual"]) == (3, 1, True)
    _run(tmp_path / "second", "second", network)
    with pytest.raises(RunError, match="--method"):
        nnunet_phantoms.method_of(tmp_path, None)
    assert nnunet_phantoms.method_of(tmp_path, "second").name == "second"


def test_axes_of_a_plan_are_turned_into_nnunets_order(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    training = importlib.import_module("benchmarks.peer_training")
    chosen = {"spacing": [3.0, 2.0, 1.0], "architecture": {"arch_kwargs": {"n_conv_per_stage": [2], "other": 1}}}
    content = {"transpose_forward": [0, 1, 2], "configurations": {training.CONFIGURATION: chosen}}
    plan = {"patch": [10, 20, 30], "batch_size": 2, "widths": [4, 8], "kernels": [[1, 3, 5]] * 2}
    training._impose(plan | {"strides": [[1, 1, 1], [1, 2, 4]], "transpose": [1, 2, 0]}, content)
    assert content["transpose_backward"] == [2, 0, 1]
    assert chosen["patch_size"] == [20, 10, 30]  # y, x, z
    assert chosen["spacing"] == [2.0, 1.0, 3.0]
    assert chosen["architecture"]["arch_kwargs"]["strides"][1] == [2, 1, 4]
    assert chosen["architecture"]["arch_kwargs"]["kernel_sizes"][0] == [3, 1, 5]
    assert chosen["architecture"]["arch_kwargs"]["n_conv_per_stage"] == [2, 2]
