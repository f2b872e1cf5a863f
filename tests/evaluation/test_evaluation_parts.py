"""Which runs stand in SG-Net's tables by their parts: those on its own trunk."""

import pytest

from strokelab.configuration import compose, plain
from strokelab.evaluation.material import parts_of


def composed(*overrides: str, **network: object) -> dict:
    settings = plain(compose("train", list(overrides)))
    settings["model"]["network"] |= network
    return settings


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["model=unet2d"], set()),
        (["model=sgnet"], {"standardizer", "hemispheres", "adversary"}),
        (["ablation=da_sl"], {"hemispheres", "adversary"}),
        (["model=unet2d", "view.order._target_=strokelab.sampling.site_balanced.SiteBalanced"], {"site_balanced"}),
    ],
)
def test_parts_are_those_that_are_on(overrides, parts):
    assert parts_of(composed(*overrides)) == parts


def test_another_network_is_no_baseline_of_sgnet():
    assert parts_of(composed("model=unet2d", _target_="strokelab.networks.sunet.SUNet")) is None
    assert parts_of(composed("model=unet2d", dimensions=3)) is None
    assert parts_of(composed("model=sgnet", "adversary=unlearning")) is None
