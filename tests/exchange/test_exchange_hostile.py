"""Model folders of strangers: nothing in them is executed, whatever they ask for."""

import os
import pickle

import nnunet_models
import numpy as np
import pytest
import torch

from strokelab.errors import RunError
from strokelab.exchange import import_nnunet
from strokelab.exchange.foreign_files import read_plans, read_weights


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("key", ["network_weights", "logging", "init_args", "trainer_name"])
def test_a_checkpoint_executes_nothing(tmp_path, key):
    built = nnunet_models.version2(tmp_path / "model")
    path = built.folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False) | {key: Evil(tmp_path / "proof")}
    torch.save(content, path)
    with pytest.raises(RunError, match="read safely"):
        import_nnunet(built.folder, tmp_path / "run")
    assert not (tmp_path / "proof").exists()
    assert not (tmp_path / "run").exists()


def test_pickled_plans_execute_nothing(tmp_path):
    built = nnunet_models.version1(tmp_path / "model")
    path = built.folder / "plans.pkl"
    for evil in (Evil(tmp_path / "proof"), np.array([Evil(tmp_path / "proof")], dtype=object)):
        path.write_bytes(pickle.dumps({**built.plans, "more": evil}))
        with pytest.raises(RunError, match="read safely"):
            import_nnunet(built.folder, tmp_path / "run")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_numbers_of_numpy_pass_in_every_protocol(tmp_path, protocol):
    content = {"a": np.float64(0.25), "b": np.arange(3), "c": np.bool_(True), "d": np.array([0.5, 2], np.float32)}
    (tmp_path / "plans.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_plans(tmp_path / "plans.pkl")
    assert (read["a"], read["c"]) == (0.25, True)
    assert read["b"].tolist() == [0, 1, 2]
    assert read["d"].dtype == np.float32


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1]), pickle.dumps(3)])
def test_what_are_no_plans_and_no_checkpoint_are_told(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (read_plans, read_weights):
        with pytest.raises(RunError, match="file"):
            read(path)


def test_settings_of_an_imported_run_are_buildable_by_strangers(tmp_path):
    """Whoever gets the run folder loads it within the allow-list, as every other."""
    from strokelab.runs import load_run

    built = nnunet_models.version2(tmp_path / "model")
    (run,) = import_nnunet(built.folder, tmp_path / "run", folds=["0"], modalities=["T1w"])
    assert load_run(run, allow=()).modalities == ("T1w",)
