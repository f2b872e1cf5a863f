"""The Segmenter: order of parts, gradients and predictions."""

from __future__ import annotations

import pytest
import torch
from small_segmenter import PLANE, batch_of, build
from torch import nn

from strokelab.errors import ConfigError
from strokelab.losses.dice import DiceLoss
from strokelab.models.segmenter import evaluation_mode
from strokelab.networks.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore:.*self.trainer.*", "ignore:.*log_every_n_steps.*", "ignore:.*overlap.*")


def test_whole_slices_are_standardised_before_they_are_split():
    model = build()
    batch = batch_of(2)
    halves = model.condition(batch)
    assert halves["image"].shape == (4, 1, 16, 12)
    assert model.standardizer.gamma.shape == (2, 1)  # one scale per slice, common to both halves
    whole = model.standardizer(batch["image"], batch["brain"])
    assert torch.allclose(model.hemispheres.join(halves["image"]), whole, atol=1e-6)


def test_prediction_is_the_composition_of_the_parts_in_evaluation_mode():
    model = build()
    batch = batch_of()
    for _ in range(3):
        model.training_step(batch, 0)
    predicted = model.predict_scores(batch["image"], batch["brain"])
    assert model.training
    assert all(part.training for part in model.modules())
    model.eval()
    with torch.no_grad():
        image = model.standardizer(batch["image"], batch["brain"])
        left = model.network(image[..., :12]).sigmoid()
        right = model.network(image[..., 12:].flip(3)).sigmoid().flip(3)
    assert torch.equal(predicted, torch.cat([left, right], dim=3))
    assert predicted.shape == (6, 1, 16, 24)
    assert predicted.dtype == torch.float32


@pytest.mark.parametrize("parts", [(True, True, True), (False, False, False)])
def test_prediction_is_the_same_in_any_batch_and_order_and_under_inference_mode(parts):
    model = build(*parts)
    batch = batch_of(7)
    image, brain = batch["image"], batch["brain"]
    model.training_step(batch, 0)
    together = model.predict_scores(image, brain)
    with torch.inference_mode():
        alone = torch.cat([model.predict_scores(image[i : i + 1], brain[i : i + 1]) for i in range(7)])
        backwards = model.predict_scores(image.flip(0), brain.flip(0)).flip(0)
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together, backwards, atol=1e-6)


def test_an_empty_slice_gives_numbers():
    model = build()
    model.training_step(batch_of(), 0)
    scores = model.predict_scores(torch.zeros(1, 1, *PLANE), torch.zeros(1, 1, *PLANE, dtype=torch.uint8))
    assert scores.isfinite().all()


def test_several_maps_are_probabilities_that_sum_to_one():
    scores = build(False, False, False, network=UNet(1, 3, base=4, depth=2)).predict_scores(
        torch.randn(2, 1, *PLANE), torch.ones(2, 1, *PLANE)
    )
    assert torch.allclose(scores.sum(dim=1), torch.ones(2, *PLANE))


def test_masking_the_input_is_an_option():
    batch = batch_of()
    assert torch.equal(build(False, False, False).condition(batch)["image"], batch["image"])
    masked = build(False, False, False, mask_input=True).condition(batch)["image"]
    assert torch.equal(masked, batch["image"] * batch["brain"])


@pytest.mark.parametrize("main", [True, False])
def test_one_backward_pass_gives_the_gradients_of_the_paper(main):
    strength = 0.7
    batch = batch_of()
    batch["image"] = batch["image"].double()

    def gradients(dice: float, site: float, reversal: float) -> dict[str, torch.Tensor]:
        model = build(main=main).double()
        model.adversary.strength = reversal
        outputs = model.training_step(batch, 0)
        (dice * (outputs["loss"] - outputs["site_loss"]) + site * outputs["site_loss"]).backward()
        return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}

    both, dice_alone = gradients(1, 1, strength), gradients(1, 0, strength)
    site_alone = gradients(0, 1, -1.0)  # minus minus one: the plain gradient of the site loss
    for name, gradient in both.items():
        if name.startswith(("network.encoder", "standardizer")):
            assert torch.allclose(gradient, dice_alone[name] - strength * site_alone[name], atol=1e-14), name
        elif name.startswith("adversary"):
            assert torch.allclose(gradient, site_alone[name], atol=1e-14), name
        else:
            assert torch.allclose(gradient, dice_alone[name], atol=1e-14), name
            assert torch.count_nonzero(site_alone[name]) == 0
    assert any(site_alone[n].abs().sum() > 0 for n in both if n.startswith("network.encoder"))


class Plain(nn.Module):
    """A network that does not show its features."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, image):
        return self.layer(image)


def test_a_network_without_features_serves_all_but_the_adversary():
    model = build(True, True, False, network=Plain())
    model.training_step(batch_of(), 0)["loss"].backward()
    with pytest.raises(ConfigError, match="adversary=none"):
        build(network=Plain())


def test_a_batch_may_bring_its_own_target_and_known_channels():
    seen = {}

    class Spy(DiceLoss):
        def forward(self, logits, target, known=None):
            seen.update(target=target, known=known)
            return super().forward(logits, target, known)

    model = build(False, True, False)
    model.loss = Spy()
    target = torch.rand(6, 1, *PLANE)
    model.training_step({**batch_of(), "target": target, "labelled_classes": torch.ones(6, 1, dtype=torch.bool)}, 0)
    assert torch.equal(model.hemispheres.join(seen["target"]), target)
    assert seen["known"].shape == (12, 1)


def test_evaluation_mode_restores_every_part():
    model = build()
    model.network.encoder[0].eval()
    with evaluation_mode(model):
        assert not any(part.training for part in model.modules())
    assert model.training
    assert not any(part.training for part in model.network.encoder[0].modules())
    assert model.network.decoder[0].training
