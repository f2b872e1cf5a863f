"""MAIN: size, masking, dependence on the brain alone, and the trap of its running statistics."""

from __future__ import annotations

import warnings

import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.networks.cost import count_parameters
from strokelab.networks.masked_adain import MaskedAdaIN

PLANE = (32, 24)


def slices(count: int = 4, channels: int = 1, plane: tuple[int, int] = PLANE, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(count, channels, *plane, generator=generator)
    brain = torch.zeros(count, 1, *plane, dtype=torch.uint8)
    brain[:, :, 4:-4, 6:-6] = 1
    return image, brain


def test_parameters():
    assert count_parameters(MaskedAdaIN(1, (224, 192))) == 688_494
    assert count_parameters(MaskedAdaIN(3, (224, 192))) == 3 * 688_494
    assert MaskedAdaIN(1, (112, 96)).gauges[0].trunk[5].in_features == 672  # the laptop's crop


@pytest.mark.parametrize("training", [True, False])
def test_zero_off_the_brain_whatever_lies_there(training):
    image, brain = slices(channels=2)
    torch.manual_seed(0)
    main = MaskedAdaIN(2, PLANE, bn_momentum=None).train(training)
    expected = main(image, brain)
    gamma, beta = main.gamma, main.beta
    for filler in (1e6, float("nan"), float("inf")):
        spoilt = torch.where(brain != 0, image, filler).requires_grad_()
        out = main(spoilt, brain)
        assert torch.equal(out, expected)
        assert torch.equal(main.gamma, gamma)
        assert torch.equal(main.beta, beta)
        out.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in main.parameters() if p.grad is not None)
    assert torch.count_nonzero(expected.masked_select(brain == 0)) == 0


def test_scale_one_and_shift_zero_give_the_masked_slice():
    image, brain = slices()
    main = MaskedAdaIN(1, PLANE).eval()
    with torch.no_grad():
        for head, value in ((main.gauges[0].scale, 1.0), (main.gauges[0].shift, 0.0)):
            head[-1][1].weight.zero_()
            head[-1][1].bias.fill_(value)
    assert torch.equal(main(image, brain), image * brain)


def test_output_is_the_published_formula_of_what_it_shows():
    image, brain = slices(channels=2)
    main = MaskedAdaIN(2, PLANE)
    out = main(image, brain)
    assert main.gamma.shape == main.beta.shape == (4, 2)
    assert not main.gamma.requires_grad
    assert (main.gamma >= 0).all()
    assert (main.beta >= 0).all()
    expected = (main.gamma[..., None, None] * image + main.beta[..., None, None]) * brain
    assert torch.allclose(out, expected, atol=1e-6)


def test_without_the_last_relu_values_may_be_negative():
    image, brain = slices(16)
    torch.manual_seed(0)
    main = MaskedAdaIN(1, PLANE, last_relu=False)
    main(image, brain)
    assert (main.gamma < 0).any()


def test_every_modality_has_its_own():
    image, brain = slices(channels=2)
    torch.manual_seed(0)
    main = MaskedAdaIN(2, PLANE).eval()
    before = main(image, brain)
    changed = image.clone()
    changed[:, 1] *= 3
    after = main(changed, brain)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_starting_values_average_like_a_rectified_normal():
    means = []
    for seed in range(8):
        torch.manual_seed(seed)
        main = MaskedAdaIN(1, (64, 48))
        main(*slices(32, plane=(64, 48), seed=seed))
        means += [main.gamma.mean().item(), main.beta.mean().item()]
    assert sum(means) / len(means) == pytest.approx(0.39, abs=0.03)


def wiped_out(bn_momentum: float | None, steps: int) -> float:
    """Evaluation-mode gamma over training-mode gamma after some untrained steps."""
    torch.manual_seed(0)
    main = MaskedAdaIN(1, PLANE, bn_momentum=bn_momentum)
    with torch.no_grad():
        for step in range(steps):
            main(*slices(16, seed=step))
        seen = main.gamma.mean()
        main.eval()(*slices(16, seed=0))
    return (main.gamma.mean() / seen).item()


def test_the_wipe_out_trap_and_the_way_round_it():
    assert wiped_out(0.1, steps=10) < 0.5
    assert wiped_out(None, steps=10) == pytest.approx(1.0, abs=0.25)
    assert wiped_out(0.1, steps=250) == pytest.approx(1.0, abs=0.25)


def test_short_runs_are_warned_of():
    with pytest.warns(UserWarning, match="bn_momentum=null"):
        MaskedAdaIN(1, PLANE).check_length(199)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MaskedAdaIN(1, PLANE).check_length(200)
        MaskedAdaIN(1, PLANE, bn_momentum=None).check_length(3)


def test_an_empty_slice_stays_empty():
    image, brain = slices()
    for mode in (True, False):
        out = MaskedAdaIN(1, PLANE).train(mode)(image, torch.zeros_like(brain))
        assert torch.equal(out, torch.zeros_like(image))


def test_statistics_stay_in_float32_under_autocast():
    image, brain = slices()
    torch.manual_seed(0)
    main = MaskedAdaIN(1, PLANE).eval()
    expected = main(image, brain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = main(image, brain)
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"plane": (8, 8, 8)}, "standardizer=none"), ({"plane": (3, 8)}, "plane"), ({"head_blocks": 0}, "head_blocks=0")],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MaskedAdaIN(1, **{"plane": PLANE, **arguments})


def test_halves_are_refused():
    image, brain = slices()
    with pytest.raises(ConfigError, match="whole slices"):
        MaskedAdaIN(1, PLANE)(image[..., :12], brain[..., :12])
