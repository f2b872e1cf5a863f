"""X-Net, U-Net 3+, D-UNet and CLCI-Net against their spec, number by number (docs/methods/comparators.md)."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
import pytest
import torch
import yaml
from fingerprint import assert_fingerprint, fingerprinted, image
from torch import nn

from strokelab.configuration import compose, conf_folder, plain
from strokelab.data import read_cases
from strokelab.errors import ConfigError
from strokelab.losses.compound import BCEDiceLoss, EnhancedMixingLoss
from strokelab.losses.dice import ClassesDiceLoss, DiceLoss
from strokelab.losses.focal import FocalLoss
from strokelab.losses.similarity import OverlapSimilarityLoss
from strokelab.networks.comparators.clcinet import CLCINet, ConvLSTM, SameBlock
from strokelab.networks.comparators.dunet import DUNet
from strokelab.networks.comparators.multipath25d import MultiPath25D, MultiPathCombiner
from strokelab.networks.comparators.unet3plus import UNet3Plus
from strokelab.networks.comparators.xnet import Similarity, XNet
from strokelab.networks.cost import cost_of, count_parameters, torchstat_reading
from strokelab.runs import load_run
from strokelab.training import train

NETWORKS = {"xnet": XNet, "unet3plus": UNet3Plus, "dunet": DUNet, "clcinet": CLCINet, "multipath25d": MultiPath25D}
CHANNELS = {"dunet": 4}


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


def full(name: str, **settings: object) -> nn.Module:
    """At full size, on shapes alone."""
    with torch.device("meta"):
        return NETWORKS[name](CHANNELS.get(name, 1), **settings).eval()


def tiny(name: str, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](CHANNELS.get(name, 1), base=8, **settings)


def with_statistics(network: nn.Module) -> int:
    """Parameters and running statistics, as Keras counts."""
    running = (one.numel() for name, one in network.named_buffers() if "running" in name)
    return count_parameters(network) + sum(running)


def counts(parts: object) -> list[int]:
    return [count_parameters(part) for part in parts]


# 1. Parameters, also part by part


def test_xnet_part_by_part():
    network = full("xnet")
    assert counts(network.encoder) == [10_507, 54_208, 206_720, 806_656, 3_186_176]
    assert count_parameters(network.attention) == 2_395_520
    assert counts(network.ups) == [4_720_128, 1_180_416, 295_296, 73_920]
    assert counts(network.decoder) == [1_601_536, 407_552, 105_472, 28_160]
    assert count_parameters(network.head) == 65
    assert (count_parameters(network), with_statistics(network)) == (15_072_332, 15_117_646)
    assert count_parameters(full("xnet", biases=False)) == 15_059_660


def test_unet3plus_part_by_part():
    network = full("unet3plus")
    assert counts(network.encoder) == [37_824, 221_952, 886_272, 3_542_016, 14_161_920]
    assert counts(network.branches) == [1_143_744, 1_033_152, 1_070_016, 1_180_608]
    assert counts(network.fusions) == [922_560] * 4
    assert count_parameters(network.heads) == 2_881
    assert count_parameters(network) == 26_970_625
    assert count_parameters(full("unet3plus", deep_supervision=True)) == 26_988_485


def test_dunet_part_by_part():
    network = full("dunet")
    assert counts(network.volumes) == [28_704, 166_272, 664_320]
    assert counts(network.encoder) == [10_560, 55_680, 221_952, 886_272, 3_542_016]
    assert counts(network.fusions) == [2_305, 5_505]
    assert counts(network.ups) == [524_544, 131_200, 32_832, 8_224]
    assert counts(network.decoder) == [1_771_008, 443_136, 110_976, 27_840]
    assert count_parameters(network.head) == 33
    assert (count_parameters(network), with_statistics(network)) == (8_633_379, 8_640_163)


def test_clcinet_part_by_part():
    network = full("clcinet")
    assert count_parameters(network.stem) == 9_696
    stages = zip(network.joins, network.stages, strict=True)
    assert [sum(counts(parts)) for parts in stages] == [211_168, 893_568, 3_737_216, 15_536_128]
    assert count_parameters(network.context) == 7_276_288
    decoder = zip(network.ups, network.skips, network.memories, network.decoder, strict=True)
    assert [sum(counts(parts)) for parts in decoder] == [7_016_448, 1_624_064, 406_528, 101_888]
    assert count_parameters(network.head) == 33
    assert (count_parameters(network), with_statistics(network)) == (36_813_025, 36_838_305)


def test_nine_paths_and_their_combiner():
    path = full("multipath25d")
    assert counts(path.encoders) == [111_712] * 2
    assert count_parameters(path.fusion) + count_parameters(path.fusion_norm) == 2_112
    combiner = MultiPathCombiner()
    assert (count_parameters(path), count_parameters(combiner)) == (316_224, 35_721)
    assert 9 * count_parameters(path) + count_parameters(combiner) == 2_881_737


# 2. Fingerprints


@pytest.mark.parametrize(
    ("name", "shape", "mean", "sd", "values"),
    [
        (
            "xnet",
            (1, 1, 48, 32),
            -228.750565,
            597.688397,
            [-2.73863765, -862.0859, -132.016789, -9.19371849, -144.275598, -4.23850054],
        ),
        (
            "unet3plus",
            (1, 1, 48, 32),
            -7399.04583,
            83958.091,
            [-12227.4068, -57531.9157, -53950.8506, 1027.74303, 98095.7643, 9662.65589],
        ),
        (
            "dunet",
            (1, 4, 48, 32),
            -744.703803,
            21724.7473,
            [10825.8976, 4432.20153, -18035.1929, -44142.8475, -14601.6714, -86.6585828],
        ),
        (
            "clcinet",
            (1, 1, 64, 48),
            -0.112532201,
            0.407858959,
            [-0.170174424, -0.149100854, 0.25388463, -0.224488469, 0.0974281469, -0.121657713],
        ),
        (
            "multipath25d",
            (2, 2, 48, 32),
            0.602306277,
            0.854121291,
            [-0.197717611, 0.269480245, 0.0948183065, -0.0850677535, 2.70631696, -0.290578205],
        ),
    ],
)
@torch.no_grad()
def test_fingerprints(name, shape, mean, sd, values):
    assert_fingerprint(fingerprinted(NETWORKS[name](shape[1]))(image(*shape)), mean, sd, values)


@torch.no_grad()
def test_fingerprints_of_the_further_heads():
    network = fingerprinted(UNet3Plus(1, deep_supervision=True))
    network.training = True  # the container alone: its norms keep their statistics
    first, *others = network(image(1, 1, 48, 32))
    assert_fingerprint(first, -7399.04583, 83958.091)
    expected = [(2862.68706, 34086.9084), (1961.40912, 11425.5722), (2149.46659, 2016.39634), (282.00986, 79.5460992)]
    for one, (mean, sd) in zip(others, expected, strict=True):
        assert one.shape == first.shape
        assert_fingerprint(one, mean, sd)


@torch.no_grad()
def test_the_fingerprint_of_the_combiner():
    values = [-2.51649306, 2.08199962, 0.86442445, -2.35568875, 2.03312816, 0.95532708]
    logits = fingerprinted(MultiPathCombiner())(image(1, 27, 8, 6, 10))
    assert_fingerprint(logits, -0.0155154112, 1.64953129, values)


# 3. Costs


@pytest.mark.parametrize(
    ("name", "plane", "gmacs"),
    [
        ("xnet", (224, 192), 20.085),
        ("unet3plus", (224, 192), 129.660),
        ("dunet", (224, 192), 19.264),
        ("dunet", (192, 192), 16.512),
        ("clcinet", (224, 192), 35.510),
        ("clcinet", (224, 176), 32.551),
        ("multipath25d", (224, 192), 2.835),
    ],
)
def test_multiply_accumulates(name, plane, gmacs):
    image_ = torch.empty(1, CHANNELS.get(name, 1), *plane, device="meta")
    assert cost_of(full(name), image_).macs / 1e9 == pytest.approx(gmacs, abs=0.001)


@pytest.mark.parametrize(
    ("network", "printed"),
    [
        (full("xnet", biases=False), (915.67, 40.49, 20.33)),  # counted without a sigmoid
        (full("xnet"), (915.59, 40.53, 20.37)),  # the transcription
        (nn.Sequential(full("unet3plus"), nn.Sigmoid()), (961.57, 259.57, 129.87)),
    ],
)
def test_costs_as_table_v_counts(network, printed):
    found = torchstat_reading(network, torch.empty(1, 1, 224, 192, device="meta"))
    assert (found.memory_mib, found.madds / 1e9, found.flops / 1e9) == pytest.approx(printed, abs=0.006)


# 5. Sides, and shapes


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_height_and_width_are_kept_and_forward_is_decode_of_encode(name):
    network = tiny(name).eval()
    x = torch.randn(2, CHANNELS.get(name, 1), 32, 48)
    logits = network(x)
    assert logits.shape == (2, 2 if name == "multipath25d" else 1, 32, 48)
    features = network.encode(x)
    assert tuple(one.shape[1] for one in features) == network.feature_channels
    assert torch.equal(network.decode(features), logits)
    with pytest.raises(ConfigError, match="divisible by 16"):
        network(torch.zeros(1, CHANNELS.get(name, 1), 32, 40))


@torch.no_grad()
def test_a_path_of_one_modality_sees_the_mirrored_slice():
    one, two = tiny("multipath25d").eval(), MultiPath25D(2, base=8).eval()
    two.load_state_dict(one.state_dict())
    x = torch.randn(2, 1, 16, 32)
    assert torch.equal(one(x), two(torch.cat([x, x.flip(3)], dim=1)))
    sagittal = MultiPath25D(1, base=8, mirrored=False).eval()
    sagittal.load_state_dict(one.state_dict())
    assert torch.equal(sagittal(x), two(torch.cat([x, x], dim=1)))
    with pytest.raises(ConfigError, match="3 channels"):
        MultiPath25D(3)


@torch.no_grad()
def test_the_combiner_takes_any_volume():
    combiner = MultiPathCombiner().eval()
    volume = torch.randn(1, 27, 4, 5, 6)
    assert combiner(volume).shape == (1, 2, 4, 5, 6)
    assert torch.equal(combiner(volume), combiner.decode(combiner.encode(volume)))


def test_clcinet_needs_two_samples_in_training():
    network = tiny("clcinet", depth=3)
    one = torch.randn(1, 1, 16, 16)
    with pytest.raises(ConfigError, match="CLCINet"):
        network(one)
    assert network.eval()(one).shape == one.shape


# 6. TensorFlow's padding; the recurrent unit


def reach(kernel: int, stride: int, size: int = 16, dilation: int = 1) -> list[list[int]]:
    """Of each output row, the input rows that it depends on."""
    block = SameBlock(1, 1, kernel, stride=stride, dilation=dilation).double().eval()
    nn.init.ones_(block.layers[0].weight)
    nn.init.ones_(block.layers[0].bias)  # so that nothing is below the rectifier
    rows = torch.eye(size, dtype=torch.float64).view(size, 1, size, 1)
    seen = block(rows)[:, 0, :, 0] - block(torch.zeros(1, 1, size, 1, dtype=torch.float64))[0, 0, :, 0]
    return [seen[:, row].nonzero().flatten().tolist() for row in range(seen.shape[1])]


def test_padding_is_that_of_same():
    assert reach(3, 1)[0] == [0, 1]
    assert reach(3, 1)[-1] == [14, 15]
    assert reach(3, 2) == [[2 * row, 2 * row + 1, 2 * row + 2] for row in range(7)] + [[14, 15]]
    assert reach(3, 4) == [[4 * row, 4 * row + 1, 4 * row + 2] for row in range(4)]  # row 3 modulo 4: never
    assert reach(3, 8)[1] == [8, 9, 10]
    assert reach(2, 1)[0] == [0, 1]
    assert reach(2, 1)[-1] == [15]
    assert reach(3, 1, dilation=4)[0] == [0, 4]


@torch.no_grad()
def test_a_unit_that_forgets_ignores_its_first_map():
    torch.manual_seed(0)
    unit = ConvLSTM(3)
    first, other, last = (torch.randn(2, 3, 8, 8) for _ in range(3))
    assert not torch.allclose(unit((first, last)), unit((other, last)))
    unit.kept.weight.zero_()
    unit.seen.weight[3:6] = 0
    unit.seen.bias[3:6] = -10  # the hard sigmoid is 0
    assert torch.equal(unit((first, last)), unit((other, last)))
    with pytest.raises(ValueError, match="no map"):
        unit(())


def test_the_recurrent_unit_by_hand():
    """One pixel, one channel, two steps."""
    unit, exact = ConvLSTM(1).double(), partial(torch.tensor, dtype=torch.float64)
    with torch.no_grad():
        unit.seen.weight.zero_()
        unit.kept.weight.zero_()
        unit.seen.weight[:, 0, 1, 1] = exact([1.0, 2.0, 0.5, -1.0])
        unit.kept.weight[:, 0, 1, 1] = exact([0.5, -0.5, 1.0, 1.0])
        unit.seen.bias.copy_(exact([0.1, 1.0, -0.2, 0.3]))

    def gate(value: float) -> float:
        return min(max(0.2 * value + 0.5, 0.0), 1.0)

    state = output = 0.0
    for x in (0.7, -0.4):
        enter, forget = x + 0.1 + 0.5 * output, 2 * x + 1.0 - 0.5 * output
        new, leave = 0.5 * x - 0.2 + output, -x + 0.3 + output
        state = gate(forget) * state + gate(enter) * math.tanh(new)
        output = gate(leave) * math.tanh(state)
    maps = [torch.full((1, 1, 1, 1), x, dtype=torch.float64) for x in (0.7, -0.4)]
    assert unit(maps).item() == pytest.approx(output, abs=1e-12)


def test_how_the_recurrent_units_begin():
    memory = tiny("clcinet").memories[0]
    width = memory.channels
    assert memory.seen.bias.tolist() == [0.0] * width + [1.0] * width + [0.0] * 2 * width
    rows = memory.kept.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)


# 7. Feature similarity


@torch.no_grad()
def test_the_attention_begins_and_tiles_as_it_must():
    torch.manual_seed(0)
    part = Similarity(32, {"bias": True, "bn_eps": 1e-3, "bn_momentum": 0.01}).eval()
    x = torch.randn(2, 32, 3, 5)
    narrow = part.narrow(x)
    torch.testing.assert_close(part.attended(narrow.tile(1, 1, 2, 2)), part.attended(narrow).tile(1, 1, 2, 2))
    part.widen[1].weight.zero_()
    assert torch.equal(part(x), x)


# 8. Slabs (where they are cut: tests of samples and of windows)


@torch.no_grad()
def test_dunet_looks_at_the_order_of_the_slices():
    network = tiny("dunet").eval()
    slab = torch.randn(1, 4, 32, 32)
    assert not torch.allclose(network(slab), network(slab[:, [3, 1, 2, 0]]), atol=1e-4)


@torch.no_grad()
def test_slices_of_a_modality_lie_together():
    """Two modalities: 8 channels in 2D, 2 channels of 4 slices in 3D."""
    torch.manual_seed(0)
    network = DUNet(8, base=8).eval()
    slab, seen = torch.randn(1, 8, 32, 32), []
    network.volumes[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(slab)
    assert seen[0].shape == (1, 2, 32, 32, 4)
    for modality in range(2):
        for place in range(4):
            assert torch.equal(seen[0][0, modality, :, :, place], slab[0, 4 * modality + place])


@pytest.mark.parametrize(("settings", "words"), [((1,), "view=slab"), ((6,), "multiple of 4")])
def test_dunet_says_what_it_needs(settings, words):
    with pytest.raises(ConfigError, match=words):
        DUNet(*settings)
    with pytest.raises(ConfigError, match="halves a slab twice"):
        DUNet(6, slices=6)


def test_the_view_gives_two_slices_before_and_one_after():
    view = plain(compose("train", ["model=dunet", "run_dir=x"]))["view"]
    assert (view["sampler"]["slices"], view["sampler"]["target"]) == (4, 2)
    assert (view["windows"]["slices"], view["windows"]["target"]) == (4, 2)


# 9. Losses


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (BCEDiceLoss(1.0, 1.0), 0.634762),
        (BCEDiceLoss(0.0, 1.0), 0.294118),
        (EnhancedMixingLoss(), 0.193883),
        (FocalLoss(0.52, 1.1), 0.072186),
        (DiceLoss(over="batch", eps=1.0), 0.114583),
        (OverlapSimilarityLoss(bce=0.0, iou=1.0, similarity=0.0), 0.454545),
    ],
)
def test_losses(loss, value):
    logits = torch.tensor([0.8, 0.4, 0.2, 1e-12], dtype=torch.float64).logit()
    target = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert loss(logits.view(1, 1, 2, 2), target.view(1, 1, 2, 2)).item() == pytest.approx(value, abs=1e-6)


def test_the_loss_of_the_paths():
    """Both classes, and the mean over samples: two equal ones, then one that is perfect."""
    lesion = torch.tensor([0.8, 0.4, 0.2, 1e-12], dtype=torch.float64).logit().view(1, 1, 2, 2)
    logits = torch.cat([torch.zeros_like(lesion), lesion], dim=1)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    loss = ClassesDiceLoss()
    assert loss(logits, target).item() == pytest.approx(0.405844, abs=1e-6)
    perfect = torch.cat([torch.zeros_like(lesion), 80 * (target - 0.5)], dim=1)
    both = loss(torch.cat([logits, perfect]), target.repeat(2, 1, 1, 1))
    assert both.item() == pytest.approx(0.405844 / 2, abs=1e-6)
    known = torch.tensor([[True, True], [True, False]])
    assert loss(torch.cat([logits, perfect]), target.repeat(2, 1, 1, 1), known).item() == pytest.approx(
        0.405844, abs=1e-6
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_the_authors_losses_are_these(name):
    loss = yaml.safe_load((conf_folder() / "authors" / f"{name}.yaml").read_text())["model"]["loss"]
    expected = {
        "xnet": {"bce": 1.0, "dice": 1.0},
        "dunet": {"alpha_healthy": 0.52, "gamma": 1.1, "eps": 1.0},
        "clcinet": {"over": "batch", "eps": 1.0},
        "multipath25d": {"smooth": 1.0},
        "unet3plus": {"bce": 1.0, "iou": 1.0, "similarity": 1.0},
    }
    assert {key: value for key, value in loss.get("each", loss).items() if key != "_target_"} == expected[name]


# 13. Training (one step with hemispheres and with an adversary: tests/conf)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_the_authors_training_takes_steps_and_predicts(name, tiny, tmp_path):
    """Its own loss, schedule, augmentation and slabs, from the command to a table of cases."""
    small = [item for item in tiny if not item.startswith(("model.", "data.batch_size")) or "network" in item]
    own = [f"model={name}", "protocol=authors", "trainer.limit_train_batches=2", "data.batch_size=4"]
    own += ["model.loss.given=[0.5,0.25,0.25]"] if name == "unet3plus" else []
    own += ["stages.lesion_slices.trainer.max_epochs=1"] if name == "multipath25d" else []
    run = tmp_path / "run"
    train(compose("train", [*small, *own, f"run_dir={run}"]))
    assert pd.read_csv(run / "cases.csv")["dice"].notna().all()
    metrics = pd.read_csv(run / "metrics.csv")
    assert metrics["val/loss"].notna().any()
    trained = load_run(run)
    assert (trained.settings["protocol"], trained.settings["name"]) == ("authors", f"{name}_authors")
    channels = next(layer for layer in trained.model.network.modules() if isinstance(layer, nn.Conv2d)).in_channels
    assert channels == CHANNELS.get(name, 1)


@pytest.mark.filterwarnings("ignore")
def test_slabs_of_three_modalities_two_halves_and_an_adversary(tiny, isles_cohort, tmp_path):
    """D-UNet on ISLES 2022 in folds: 12 channels; a case and its files give the same prediction."""
    own = ["model=dunet", "hemispheres=split", "adversary=site", "data=isles2022", f"data.root={isles_cohort}"]
    own += ["split=kfold", "split.folds=3", "view.preparation.crop=[24,32,null]", "callbacks=none", "augment=standard"]
    own += ["view.augment.keep_midline=true", "trainer.max_epochs=1", "trainer.max_steps=2"]
    run = tmp_path / "run"
    train(compose("train", [*(item for item in tiny if not item.startswith("callbacks.")), *own, f"run_dir={run}"]))
    trained = load_run(run)
    assert trained.settings["model"]["network"]["in_channels"] == 12
    assert trained.model.network.volumes[0][0][0].in_channels == 3
    case = read_cases("isles2022", isles_cohort)[0]
    by_case, by_files = trained.predict(case), trained.predict(list(case.images.values()))
    assert (by_case.probability == by_files.probability).all()
    assert by_case.mask.shape == by_case.grid.shape
