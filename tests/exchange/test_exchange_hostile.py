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
    content = {
        **{"a": np.float64(0.25), "b": np.arange(3), "c": np.bool_(True), "d": np.array([0.5, 2], np.float32)},
        **{"e": np.asfortranarray(np.arange(6).reshape(2, 3)), "f": np.array([{"x": 1}, None]), "g": np.array(["ab"])},
        **{"h": np.zeros((0, 3)), "i": np.array(7), "j": np.array([1, 2], ">i2"), "k": np.str_("word")},
    }
    (tmp_path / "plans.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_plans(tmp_path / "plans.pkl")
    assert (read["a"], read["c"], read["k"]) == (0.25, True, "word")
    arrays = {name: value for name, value in read.items() if isinstance(value, list)}
    assert arrays == {
        **{"b": [0, 1, 2], "d": [0.5, 2], "e": [[0, 1, 2], [3, 4, 5]], "f": [{"x": 1}, None], "g": ["ab"]},
        **{"h": [], "i": [7], "j": [1, 2]},
    }


class Calls:
    """Calls something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


GREEDY = {
    "memory for a number": Calls(np._core.multiarray.scalar, np.dtype("V200000")),
    "memory for a word": Calls(np._core.multiarray.scalar, np.dtype("S200000")),
    "objects out of bytes": Calls(np.ndarray, (1,), np.dtype("O"), b"AAAAAAAA"),
    "fields of objects": Calls(np._core.multiarray.scalar, np.dtype([("a", "O")]), b"AAAAAAAA"),
    "numbers out of too few bytes": Calls(np._core.multiarray.scalar, np.dtype("f8"), b"AAAA"),
    "as many lists as one likes": np.lib.stride_tricks.as_strided(np.zeros(0), (2**40, 0)),
}


@pytest.mark.parametrize("what", GREEDY)
def test_numpy_is_not_called_for_strangers(tmp_path, what):
    """Neither for memory nor for arrays of pointers: what is no plain number or array of them is refused or empty."""
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps({"x": GREEDY[what]}))
    if what.startswith("as many"):
        assert read_plans(path)["x"] == []
    else:
        with pytest.raises(RunError, match="read safely"):
            read_plans(path)
    torch.save({"x": GREEDY[what]}, path)
    with pytest.raises(RunError, match="read safely"):
        read_weights(path)


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
