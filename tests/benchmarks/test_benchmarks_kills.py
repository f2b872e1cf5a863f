"""What the benchmark of kills calls a difference."""

import shutil

import pytest
import torch

from benchmarks.kills import differences


def test_an_equal_run_differs_in_nothing(a_run, trained_run):
    assert differences(a_run, trained_run) == []


@pytest.mark.parametrize("name", ["metrics.csv", "cases.csv", "probabilities.csv"])
def test_a_digit_is_a_difference(name, a_run, trained_run):
    path = a_run / name
    path.write_text(path.read_text().replace("1", "2", 1))
    assert differences(a_run, trained_run) == [f"{name} differs"]


def test_so_is_a_bit_of_a_weight(a_run, trained_run):
    path = a_run / "checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    weight = next(value for value in content["state_dict"].values() if value.is_floating_point())
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    torch.save(content, path)
    assert differences(a_run, trained_run) == ["weights differ"]
    path.write_bytes(b"half")
    assert differences(a_run, trained_run)[0].startswith("last.ckpt: ")
    shutil.rmtree(a_run)
    assert len(differences(a_run, trained_run)) == 6
