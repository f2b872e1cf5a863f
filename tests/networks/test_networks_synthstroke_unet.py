"""SynthStroke's network against MONAI's ``UNet``: stored numbers, and MONAI itself where it is installed."""

from __future__ import annotations

import pytest
import torch
from peer_networks import weight

from strokelab.configuration import check_fit, compose, override, plain
from strokelab.configuration.forms import Network
from strokelab.errors import ConfigError
from strokelab.exchange.monai_unet import our_name
from strokelab.models.segmenter import UShaped
from strokelab.networks.synthstroke_unet import SynthStrokeUNet

# What MONAI 1.6.1 answers with the weights of ``peer_networks.weight``: mean and mean square of the logits, one number
# of them, norm of all gradients. Name -> (maps, channels, strides, answer).
CASES = {
    "six": (
        6,
        (4, 6, 8, 10),
        (2, 2, 2),
        [0.2872694425121846, 6.23878239185584, -0.48105847453348555, 0.1556023160442962],
    ),
    "uneven": (
        2,
        (4, 6, 8),
        (2, 1),
        [0.2617905557683364, 1.1068291927022351, -0.2704143150140563, 0.10500380287324834],
    ),
}


def image() -> torch.Tensor:
    numbers = torch.arange(2 * 16**3, dtype=torch.float64)
    return (torch.sin(0.31 * numbers) + torch.cos(0.0017 * numbers**1.3)).reshape(2, 1, 16, 16, 16)


def answer(network: torch.nn.Module) -> list[float]:
    logits = network.double().train()(image())
    (logits * torch.cos(torch.arange(logits.numel()).reshape(logits.shape) * 0.1)).mean().backward()
    norm = torch.sqrt(sum(p.grad.square().sum() for p in network.parameters()))
    return [value.item() for value in (logits.mean(), logits.square().mean(), logits[1, 1].flatten()[7], norm)]


def monais(maps, channels, strides, dropout=0.0):
    networks = pytest.importorskip("monai.networks.nets")
    layers = {"num_res_units": 1, "act": "PRELU", "norm": "INSTANCE", "dropout": dropout}
    return networks.UNet(spatial_dims=3, in_channels=1, out_channels=maps, channels=channels, strides=strides, **layers)


def names(channels) -> list[str]:
    """MONAI's names of all weights, written out once more."""
    deep = len(channels) - 1
    found = []
    for level in range(deep):
        inside = "model." + "1.submodule." * level
        for layer in ("0.conv.unit0.conv", "0.residual", "2.0.conv", "2.1.conv.unit0.conv"):
            found += [f"{inside}{layer}.weight", f"{inside}{layer}.bias"]
        found += [f"{inside}{layer}.adn.A.weight" for layer in ("0.conv.unit0", "2.0", "2.1.conv.unit0")]
    found.remove("model.2.1.conv.unit0.adn.A.weight")
    bottom = "model." + "1.submodule." * deep
    return [*found, *(f"{bottom}conv.unit0.{layer}" for layer in ("conv.weight", "conv.bias", "adn.A.weight"))]


def ours(maps, channels, strides) -> SynthStrokeUNet:
    network = SynthStrokeUNet(1, maps, channels=channels, strides=strides, dropout=0.0)
    parameters = dict(network.named_parameters())
    named = names(channels)
    pointwise = [bottom_shortcut(channels, kind) for kind in ("weight", "bias")] if channels[-1] != channels[-2] else []
    assert {our_name(name, len(channels)) for name in named + pointwise} == set(parameters)
    with torch.no_grad():
        for name in named + pointwise:
            parameter = parameters[our_name(name, len(channels))]
            parameter.copy_(weight(name, tuple(parameter.shape)))
    return network


def bottom_shortcut(channels, kind) -> str:
    return "model." + "1.submodule." * (len(channels) - 1) + f"residual.{kind}"


@pytest.mark.parametrize("name", CASES)
def test_answers_and_gradients_are_monais(name):
    *settings, stored = CASES[name]
    assert answer(ours(*settings)) == pytest.approx(stored, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_monai_answers_the_same_today(name):
    *settings, stored = CASES[name]
    network = monais(*settings)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            parameter.copy_(weight(key, tuple(parameter.shape)))
    assert answer(network) == pytest.approx(stored, rel=1e-9)


def test_full_size_weights_of_monai_fit_and_dropout_is_theirs():
    widths, strides = (32, 64, 128, 256, 320, 320), (2,) * 5
    theirs = monais(6, widths, strides, dropout=0.2).train()
    network = SynthStrokeUNet(1, 6).train()
    network.load_state_dict({our_name(key, 6): value for key, value in theirs.state_dict().items()})
    x = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    answers = []
    for each in (theirs, network):
        torch.manual_seed(1)
        with torch.no_grad():
            answers.append(each(x))
    assert torch.equal(*answers)


@pytest.mark.parametrize(
    "name",
    [
        "model.2.1.conv.unit0.adn.A.weight",
        "model.conv.unit0.conv.weight",
        "model.1.submodule.1.submodule.0.conv.unit0.conv.weight",
        "model.1.submodule.1.submodule.2.0.conv.weight",
        "model.1.submodule.0.conv.unit1.conv.weight",
        "model.0.conv.unit0.adn.N.weight",
        "unet.model.0.residual.bias",
    ],
)
def test_names_of_other_networks_are_no_names_of_ours(name):
    found = our_name(name, 3)
    assert found is None or found not in dict(
        SynthStrokeUNet(1, 2, channels=(2, 2, 2), strides=(2, 2)).named_parameters()
    )


def test_forward_is_decode_of_encode_and_every_skip_counts():
    torch.manual_seed(0)
    network = SynthStrokeUNet(2, 3, channels=(4, 6, 8), strides=(2, 2)).eval()
    assert isinstance(network, UShaped)
    image = torch.randn(2, 2, 8, 16, 12)
    features = network.encode(image)
    assert [tuple(f.shape[1:]) for f in features] == [(4, 4, 8, 6), (6, 2, 4, 3), (8, 2, 4, 3)]
    whole = network.decode(features)
    assert torch.equal(network(image), whole)
    for level in range(3):
        changed = [f * 0 if k == level else f for k, f in enumerate(features)]
        assert not torch.allclose(network.decode(changed), whole)


@pytest.mark.parametrize(("size", "words"), [((64, 64, 80), "divisible by 32"), ((64, 32, 64), "at least 64")])
def test_sizes_that_do_not_fit_are_named(size, words):
    with pytest.raises(ConfigError, match=words):
        SynthStrokeUNet(1).to("meta")(torch.empty(1, 1, *size, device="meta"))


@pytest.mark.parametrize(
    "settings",
    [{"channels": (4,), "strides": ()}, {"strides": (2, 2)}, {"strides": (2, 2, 0, 2, 2)}, {"dropout": 1.0}],
)
def test_settings_that_make_no_network_are_refused(settings):
    with pytest.raises(ConfigError, match="SynthStrokeUNet"):
        SynthStrokeUNet(1, **settings)


@pytest.mark.parametrize(("size", "refused"), [(64, ""), (32, "at least 64"), (80, "multiple of 32")])
def test_samples_of_such_sizes_are_refused_before_data_are_read(size, refused):
    network = {"_target_": "strokelab.networks.synthstroke_unet.SynthStrokeUNet", "in_channels": 1, "out_channels": 2}
    settings = plain(compose("train", ["model=resunet3d", f"view.sampler.size={[size] * 3}", "run_dir=x"]))
    settings["model"] |= {"network": network, "lesion_channel": 1}
    settings = override(settings, ["view.preparation.normalize=zscore_equalised", "view.windows.window=[64,64,64]"])
    if not refused:
        check_fit(settings)
        return
    with pytest.raises(ConfigError, match=refused) as caught:
        check_fit(settings)
    assert "view.sampler.size" in str(caught.value)


def test_what_a_network_does_not_say_is_no_limit():
    assert Network().least("x") == 1
    assert Network(shortest=(8, 16, 32)).least("y") == 16
