"""SUNet, number by number: network, loss, patches, stopping and folds of Clèrigues 2019 (spec sections 5 to 7, 13)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from strokelab.callbacks.best import BestModelCheckpoint
from strokelab.contract import Case, LesionFile
from strokelab.data.splits import KFold
from strokelab.errors import ConfigError
from strokelab.losses.focal import FocalLoss
from strokelab.metrics.validation import L1ErrorRate, Validated
from strokelab.networks.cost import count_parameters
from strokelab.networks.sunet import SUNet
from strokelab.sampling.balanced_patches import BalancedPatches, regular
from strokelab.sampling.turns import TURNS, turned, turns_of


@pytest.mark.parametrize(("channels", "parameters"), [(4, 7_033_666), (7, 7_036_258), (8, 7_037_122), (14, 7_042_306)])
def test_parameters(channels, parameters):
    with torch.device("meta"):
        network = SUNet(channels)
    assert count_parameters(network) == parameters
    assert sum(buffer.numel() for buffer in network.buffers()) == 2_830


def test_three_quarters_of_the_parameters_are_the_encoders():
    with torch.device("meta"):
        network = SUNet(8)
    parts = (network.stem, network.downs, network.encoder)
    encoder = sum(count_parameters(part) for part in parts)
    assert encoder == 5_292_448
    assert encoder / count_parameters(network) == pytest.approx(0.752, abs=5e-4)
    assert [count_parameters(block) for block in network.encoder] == [55_552, 221_696, 885_760, 3_540_992]
    assert [count_parameters(block) for block in network.downs] == [27_776, 110_848, 442_880]
    assert [count_parameters(block) for block in network.ups] == [884_864, 221_248, 55_328]
    assert [count_parameters(block) for block in network.decoder] == [442_880, 110_848, 27_776]
    assert (count_parameters(network.stem), count_parameters(network.head)) == (6_944, 1_730)


def fingerprinted() -> SUNet:
    """The spec's weights, in double precision."""
    network = SUNet(8).double().eval()
    for layer in network.modules():
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
            nn.init.constant_(layer.weight, 1 / (27 * layer.in_channels))
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.PReLU):
            nn.init.constant_(layer.weight, 0.25)
    return network


@torch.no_grad()
def test_the_two_fingerprints():
    network = fingerprinted()
    logits = network(torch.ones(1, 8, 24, 24, 16, dtype=torch.float64))
    assert logits.shape == (1, 2, 24, 24, 16)
    torch.testing.assert_close(logits[:, 0], logits[:, 1])
    found = [logits.mean(), logits[0, 0, 0, 0, 0], logits[0, 0, 12, 12, 8]]
    assert [value.item() for value in found] == pytest.approx([4.790257, 0.610869, 7.178979], abs=1e-5)
    i, j, k = torch.meshgrid(torch.arange(24), torch.arange(24), torch.arange(16), indexing="ij")
    wave = ((i + 2 * j + 3 * k) % 7).double() / 7 - 0.5
    logits = network(wave.expand(1, 8, -1, -1, -1))
    found = [logits.mean(), *(logits[0, 0][place] for place in ((0, 0, 0), (12, 12, 8), (23, 23, 15)))]
    assert [value.item() for value in found] == pytest.approx([-0.084806, -0.019487, -0.105986, -0.014024], abs=1e-5)


def test_a_side_not_divisible_by_8_is_refused():
    with pytest.raises(ConfigError, match="divisible by 8"):
        SUNet(1, base=2)(torch.zeros(1, 1, 24, 24, 12))


def scored(probability: list[float]) -> torch.Tensor:
    """Two logits whose softmax is this lesion probability, (1, 2, N)."""
    logit = torch.logit(torch.tensor(probability, dtype=torch.float64))
    return torch.stack([-logit / 2, logit / 2])[None]


@pytest.mark.parametrize(
    ("probability", "lesion", "loss"),
    [
        ([0.1, 0.6, 0.3, 0.8], [0, 0, 1, 1], 0.132971),
        ([0.5] * 4, [0, 0, 1, 1], 0.086643),
        ([0.9], [1], 7.9020e-4),
        ([0.9], [0], 0.466273),
    ],
)
def test_focal_loss(probability, lesion, loss):
    target = torch.tensor(lesion, dtype=torch.float64)[None, None]
    assert FocalLoss()(scored(probability), target).item() == pytest.approx(loss, abs=1e-6)


def test_l1_and_error_rate():
    logits, lesion = scored([0.1, 0.6, 0.3, 0.8]), torch.tensor([[[0, 0, 1, 1]]])
    metric = L1ErrorRate()
    metric.update(Validated(torch.tensor(0.0), logits, logits.softmax(1), lesion.float(), lesion, 1))
    assert metric.compute().item() == pytest.approx(0.9, abs=1e-6)


def test_regular_steps():
    assert regular(3, 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert regular(10, 4).tolist() == [0, 2, 5, 7]
    assert regular(4, 4).tolist() == [0, 1, 2, 3]
    assert regular(2, 0).tolist() == []


SAMPLER = BalancedPatches((24, 24, 16))
SHAPE = (120, 130, 90)
HALF = np.array([12, 12, 8])


def head(lesion: tuple[slice, slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """A lesion box in an ellipsoid brain."""
    axes = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    brain = sum(((axis - size / 2) / (0.45 * size)) ** 2 for axis, size in zip(axes, SHAPE, strict=True)) <= 1
    mask = np.zeros(SHAPE, np.uint8)
    mask[lesion] = 1
    return mask, brain


def patches(mask, brain, sampler=SAMPLER):
    starts, turns = sampler.of_case(mask, brain, np.random.default_rng(7), "a")
    return starts.astype(int) + HALF, turns


def holds(centres, voxels):
    """Whether each patch holds its voxel."""
    inside = (voxels >= centres - HALF) & (voxels <= centres + HALF - 1)
    return inside.all(axis=1)


def test_a_tiny_lesion_is_repeated_and_filled_with_turned_copies():
    mask, brain = head((slice(50, 54), slice(60, 67), slice(40, 41)))
    voxels = np.argwhere(mask)
    assert len(voxels) == 28
    centres, turns = patches(mask, brain)
    assert (centres.shape, turns.shape) == ((10_000, 3), (10_000,))
    taken = voxels[regular(28, 2500)]
    assert set(np.unique(np.ravel_multi_index(taken.T, SHAPE), return_counts=True)[1]) == {89, 90}
    assert not turns[:2500].any()
    offsets = centres[:2500] - taken  # nothing is clipped here
    assert (np.abs(offsets) <= (11, 11, 7)).all()
    assert (np.abs(offsets).max(axis=0) == (11, 11, 7)).all()
    zeros = (offsets[:, 0] == 0).mean()
    assert zeros == pytest.approx(2 / 24, abs=0.02)  # twice as likely as any other
    assert [TURNS[turn] for turn in np.unique(turns[2500:5000])] == ["rotate 90", "rotate 270"]
    copies = regular(2500, 1250)
    for part in (slice(2500, 3750), slice(3750, 5000)):
        assert (centres[part] == centres[copies]).all()
        assert len(set(turns[part])) == 1
    assert holds(centres[:2500], taken).all()


def test_a_large_lesion_is_thinned_to_as_many_different_voxels():
    mask, brain = head((slice(30, 79), slice(30, 78), slice(20, 68)))  # 112,896 voxels
    centres, turns = patches(mask, brain)
    taken = np.argwhere(mask)[regular(int(mask.sum()), 5000)]
    assert len(np.unique(taken, axis=0)) == 5000
    assert not turns.any()
    assert holds(centres[:5000], taken).all()


@pytest.mark.parametrize("voxels", [1, 2499, 2501, 3333, 4999, 5001])
def test_half_of_any_lesion_and_half_healthy(voxels):
    mask, brain = head((slice(0, 0),) * 3)
    mask[tuple(np.argwhere(brain)[1000 : 1000 + voxels].T)] = 1
    centres, _ = patches(mask, brain)
    assert len(centres) == 10_000
    healthy = centres[5000:]
    assert (brain & (mask == 0))[tuple(healthy.T)].all()
    near = np.argwhere(mask)
    sample = centres[:5000:50]
    assert all(holds(np.tile(centre, (len(near), 1)), near).any() for centre in sample)


def test_patches_at_the_border_stay_in_the_padded_volume_and_hold_their_voxel():
    mask, brain = head((slice(0, 3), slice(127, 130), slice(88, 90)))
    centres, _ = patches(mask, brain)
    starts = centres - HALF
    assert (starts >= -HALF).all()
    assert (starts + 2 * HALF <= np.array(SHAPE) + HALF).all()
    taken = np.argwhere(mask)[regular(18, 2500)]
    assert holds(centres[:2500], taken).all()


def test_the_healthy_grid_is_as_coarse_as_gives_enough():
    mask, brain = head((slice(50, 54), slice(60, 67), slice(40, 41)))
    counts = [int((brain & (mask == 0))[::x, ::y, ::z].sum()) for x, y, z in ((6, 6, 3), (5, 5, 2), (4, 4, 1))]
    assert counts[0] < 4999 <= counts[1]
    centres, _ = patches(mask, brain)
    assert not (centres[5000:] % (5, 5, 2)).any()
    finest = BalancedPatches((24, 24, 16), step=(2, 2, 2))
    small = np.zeros_like(brain)
    small[40:50, 40:50, 40:50] = True
    with pytest.warns(match="1000 healthy centres for 5000"):
        centres, _ = patches(mask, small, finest)
    assert set(np.unique(centres[5000:], axis=0, return_counts=True)[1]) == {5}


def test_a_case_without_lesion_has_healthy_patches_alone():
    mask, brain = head((slice(0, 0),) * 3)
    with pytest.warns(match="case a: no lesion"):
        centres, turns = patches(mask, brain)
    assert len(centres) == 10_000
    assert not turns.any()
    assert brain[tuple(centres.T)].all()


def test_the_baseline_takes_voxels_at_random_without_offset_or_copies():
    mask, brain = head((slice(50, 60), slice(60, 70), slice(30, 60)))  # 3,000 voxels
    plain = BalancedPatches((24, 24, 16), offset="none", augment=False, healthy="brain", choose="random")
    centres, turns = patches(mask, brain, plain)
    assert not turns.any()
    assert mask[tuple(centres[:5000].T)].all()
    assert set(np.unique(centres[:5000], axis=0, return_counts=True)[1]) == {1, 2}  # each once, then again
    assert brain[tuple(centres[5000:].T)].all()
    assert len(np.unique(centres[5000:], axis=0)) == 5000


def test_five_operations_on_data_and_label_alike_give_five_different_patches():
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(3, 24, 24, 16)), rng.random((1, 24, 24, 16)) > 0.5
    label = np.where(label, image[:1], 0)
    results = [turned(image, turn) for turn in turns_of((24, 24, 16))]
    labels = [turned(label, turn) for turn in turns_of((24, 24, 16))]
    assert len(results) == 5
    for result, moved in zip(results, labels, strict=True):
        assert (moved[moved != 0] == result[:1][moved != 0]).all()
    assert not any(np.array_equal(a, b) for n, a in enumerate([image, *results]) for b in results[n:])
    assert np.array_equal(results[0], np.rot90(image, 1, axes=(1, 2)))
    assert np.array_equal(results[3], image[:, ::-1])
    assert np.array_equal(results[4], image[:, :, ::-1])


def series(values: list[float]) -> tuple[int, list[int]]:
    """The epoch after which a scripted series ends the training, and the epochs whose weights are kept."""
    stopping = EarlyStopping("m", patience=8, min_delta=1e-4, mode="min", verbose=False)
    best = BestModelCheckpoint(monitor="m", mode="min", min_delta=1e-4)
    trainer = SimpleNamespace(
        callback_metrics={},
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all=True: decision),
        current_epoch=0,
        world_size=1,
        should_stop=False,
        fast_dev_run=False,
    )
    kept = []
    for epoch, value in enumerate(values):
        trainer.current_epoch, current = epoch, torch.tensor(value)
        if best.check_monitor_top_k(trainer, current):
            best.best_k_models, best.kth_best_model_path = {"best": current}, "best"
            kept.append(epoch)
        trainer.callback_metrics = {"m": current}
        stopping._run_early_stopping_check(trainer)
        if trainer.should_stop:
            return epoch, kept
    return len(values), kept


def test_training_stops_eight_epochs_after_the_last_gain_that_counts():
    assert series([0.9, 0.8, 0.7, *[0.75] * 20]) == (10, [0, 1, 2])
    assert series([0.9, 0.8, *[0.79995] * 20]) == (9, [0, 1])  # 5e-5 is no gain
    assert series([0.9, 0.8, *[0.79985] * 20]) == (10, [0, 1, 2])


@pytest.mark.parametrize(("cases", "sizes"), [(28, [7, 7, 7, 7]), (30, [8, 8, 8, 6])])
def test_four_contiguous_folds(cases, sizes):
    cohort = [
        Case(f"siss-{n}", f"siss-{n}", "isles2015_siss", None, {"FLAIR": f"{n}.nii"}, (LesionFile(f"{n}.nii"),))
        for n in range(1, cases + 1)
    ]
    splits = [KFold(fold, 4, val_fraction=0, contiguous=True)(cohort) for fold in range(4)]
    assert [len(split.test) for split in splits] == sizes
    assert [case_id for split in splits for case_id in split.test] == [case.case_id for case in cohort]
    assert all(len(split.train) + len(split.test) == cases and not split.val for split in splits)
