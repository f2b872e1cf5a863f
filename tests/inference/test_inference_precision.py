"""Which precision a prediction computes in, what it does to scores, and that nothing of it is left behind."""

import numpy as np
import pytest
import torch

from strokelab import allocator
from strokelab.errors import ConfigError
from strokelab.inference import precision
from strokelab.inference.precision import computing, settle


@pytest.mark.parametrize(
    ("asked", "trained", "device", "native", "expected"),
    [
        ("as_trained", "32-true", "cpu", True, "32"),
        ("as_trained", "64-true", "cpu", True, "32"),
        ("as_trained", "None", "cpu", True, "32"),  # a run folder that does not tell
        ("as_trained", "bf16-mixed", "cpu", True, "bf16"),
        ("as_trained", "bf16-mixed", "cpu", False, "32"),
        ("as_trained", "16-mixed", "cpu", True, "32"),
        ("as_trained", "bf16-mixed", "mps", True, "32"),
        ("as_trained", "16-mixed", "cuda", True, "16"),
        ("as_trained", "bf16-mixed", "cuda", True, "bf16"),
        ("as_trained", "bf16-mixed", "cuda:1", False, "32"),
        ("bf16", "32-true", "cpu", False, "bf16"),
        ("16", "32-true", "cuda", True, "16"),
        ("32", "bf16-mixed", "cpu", True, "32"),
        (32, "bf16-mixed", "cuda", True, "32"),
    ],
)
def test_as_trained_where_the_device_computes_in_it_and_by_name_everywhere(
    monkeypatch, asked, trained, device, native, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": native}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native)
    assert settle(asked, trained=trained, device=device) == expected


def test_a_torch_that_cannot_tell_is_given_the_runs_own(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert settle("as_trained", trained="bf16-mixed", device="cpu") == "bf16"


@pytest.mark.parametrize(("asked", "device"), [("16", "cpu"), ("64", "cpu"), ("half", "cuda"), ("bf16-mixed", "cpu")])
def test_what_cannot_be_had_is_refused(asked, device):
    with pytest.raises(ConfigError, match="precision"):
        settle(asked, trained="32-true", device=device)


@pytest.mark.parametrize("asked", ["32", "bf16"])
def test_inside_products_are_in_the_precision_and_outside_everything_is_as_before(asked):
    a, b = torch.rand(8, 8), torch.rand(8, 8)
    with torch.inference_mode(), computing(asked, "cpu"):
        product = a @ b
        assert allocator.is_kept() == (allocator.cannot_keep() is None)
    assert product.dtype == {"32": torch.float32, "bf16": torch.bfloat16}[asked]
    assert (a @ b).dtype == torch.float32
    assert not allocator.is_kept()


@pytest.mark.skipif(allocator.cannot_keep() is not None, reason=f"{allocator.cannot_keep()}")
def test_memory_that_was_kept_before_stays_kept_and_an_error_gives_it_back():
    try:
        allocator.use("resident")
        with computing("32", "cpu"):
            pass
        assert allocator.is_kept()
    finally:
        allocator.use("default")
    with pytest.raises(ZeroDivisionError), computing("bf16", "cpu"):
        _ = 1 / 0
    assert not allocator.is_kept()


def test_scores_in_bf16_are_close_to_those_in_float32_and_their_sums_are_not_rounded():
    from test_inference_predict import NATIVE, case_on

    from strokelab.inference.predict import case_scores
    from strokelab.inference.windows import PatchWindows

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(8, 2, 1))

    def predict(image, brain):
        return network(image).float().softmax(1)

    prepared = case_on(NATIVE)
    how = {"predict": predict, "windows": PatchWindows((4, 4, 4)), "lesion_channel": 1}
    full = case_scores(prepared, **how).lesion
    half = case_scores(prepared, **how, precision=precision.settle("bf16", trained="", device="cpu")).lesion
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 5e-3
    rounded = torch.from_numpy(half).bfloat16().float().numpy()
    assert (half != rounded).mean() > 0.9
