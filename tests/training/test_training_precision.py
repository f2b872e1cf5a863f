"""What ``trainer.precision=auto`` means depends on the processor, and on nothing else."""

import pytest
import torch

from strokelab.training.precision import chosen_precision


@pytest.mark.parametrize(
    ("bf16", "amx", "expected"),
    [(True, False, "bf16-mixed"), (False, True, "bf16-mixed"), (False, False, "32-true")],
)
def test_auto_follows_the_instructions_of_the_cpu(monkeypatch, bf16, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert chosen_precision({"precision": "auto", "accelerator": "cpu"}) == expected


@pytest.mark.parametrize("choice", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_choice_of_the_user_stays(choice):
    assert chosen_precision({"precision": choice, "accelerator": "cpu"}) == choice
