"""Tiny nnU-Net model folders with random weights, as either version lays them out; nothing of nnU-Net is imported."""

import json
import pickle
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from strokelab.networks.nnunet import NNUNet

TRANSPOSE = (1, 2, 0)  # one of the two orders that are not their own inverse


@dataclass
class Built:
    """A folder and the network whose weights lie in it."""

    folder: Path
    network: NNUNet
    plans: dict = field(default_factory=dict)
    dataset: dict = field(default_factory=dict)

    def write(self):
        """Write plans and dataset.json anew, after a test changed them."""
        (self.folder / "plans.json").write_text(json.dumps(self.plans))
        (self.folder / "dataset.json").write_text(json.dumps(self.dataset))


def tiny_network(*, residual=False, version=2, channels=1, classes=2):
    torch.manual_seed(3)
    network = NNUNet(
        channels,
        classes,
        widths=[4, 6, 8],
        kernels=[[3, 3, 1], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [2, 2, 1], [2, 1, 2]],
        residual=residual,
        blocks_encoder=[1, 2, 2],
        units_decoder=1 if residual else 2,
        biases="all" if version == 2 else "units",
        shortcut="pooled" if version == 2 else "strided",
    )
    for parameter in network.parameters():  # biases and norms, too, must matter
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    with torch.no_grad():
        network.heads[-1].weight -= network.heads[-1].weight.mean(1, keepdim=True)  # lesion here and not there
        if version == 2:
            network.heads[-1].bias.zero_()
    return network.eval()


def nnunets_order(values):
    """Three values along X, Y, Z in the order of nnU-Net's arrays."""
    return [values[2 - axis] for axis in TRANSPOSE]


def nnunets_kernels(weight):
    return weight.permute(0, 1, *(2 + 2 - axis for axis in TRANSPOSE)).contiguous() if weight.ndim == 5 else weight


V2_PLAIN = [
    (r"encoder\.(\d)\.(\d)\.(conv|norm)\.(\w+)", r"encoder.stages.\1.0.convs.\2.\3.\4"),
    (r"decoder\.(\d)\.(\d)\.(conv|norm)\.(\w+)", r"decoder.stages.\1.convs.\2.\3.\4"),
    (r"ups\.(\d)\.(\w+)", r"decoder.transpconvs.\1.\2"),
    (r"heads\.(\d)\.(\w+)", r"decoder.seg_layers.\1.\2"),
]
V2_RESIDUAL = [
    (r"stem\.(conv|norm)\.(\w+)", r"encoder.stem.convs.0.\1.\2"),
    (r"encoder\.(\d)\.(\d)\.first\.(conv|norm)\.(\w+)", r"encoder.stages.\1.blocks.\2.conv1.\3.\4"),
    (r"encoder\.(\d)\.(\d)\.second\.(conv|norm)\.(\w+)", r"encoder.stages.\1.blocks.\2.conv2.\3.\4"),
    (r"encoder\.(\d)\.(\d)\.shortcut\.(\d)\.(conv|norm)\.(\w+)", r"encoder.stages.\1.blocks.\2.skip.\3.\4.\5"),
    *V2_PLAIN[1:],
]
V1_PLAIN = [  # two rows of units in the deepest stage and in the decoder
    (r"encoder\.2\.([01])\.conv\.(\w+)", r"conv_blocks_context.2.\1.blocks.0.conv.\2"),
    (r"encoder\.2\.([01])\.norm\.(\w+)", r"conv_blocks_context.2.\1.blocks.0.instnorm.\2"),
    (r"encoder\.(\d)\.(\d)\.conv\.(\w+)", r"conv_blocks_context.\1.blocks.\2.conv.\3"),
    (r"encoder\.(\d)\.(\d)\.norm\.(\w+)", r"conv_blocks_context.\1.blocks.\2.instnorm.\3"),
    (r"decoder\.(\d)\.([01])\.conv\.(\w+)", r"conv_blocks_localization.\1.\2.blocks.0.conv.\3"),
    (r"decoder\.(\d)\.([01])\.norm\.(\w+)", r"conv_blocks_localization.\1.\2.blocks.0.instnorm.\3"),
    (r"ups\.(\d)\.(\w+)", r"tu.\1.\2"),
    (r"heads\.(\d)\.(\w+)", r"seg_outputs.\1.\2"),
]
V1_RESIDUAL = [
    (r"stem\.(conv|norm)\.(\w+)", r"encoder.initial_\1.\2"),
    (r"encoder\.(\d)\.(\d)\.first\.(conv|norm)\.(\w+)", r"encoder.stages.\1.convs.\2.\g<3>1.\4"),
    (r"encoder\.(\d)\.(\d)\.second\.(conv|norm)\.(\w+)", r"encoder.stages.\1.convs.\2.\g<3>2.\4"),
    (r"encoder\.(\d)\.(\d)\.shortcut\.conv\.(\w+)", r"encoder.stages.\1.convs.\2.downsample_skip.0.\3"),
    (r"encoder\.(\d)\.(\d)\.shortcut\.norm\.(\w+)", r"encoder.stages.\1.convs.\2.downsample_skip.1.\3"),
    (r"decoder\.(\d)\.(\d)\.(conv|norm)\.(\w+)", r"decoder.stages.\1.convs.\2.\3.\4"),
    (r"ups\.(\d)\.(\w+)", r"decoder.tus.\1.\2"),
    (r"heads\.1\.(\w+)", r"decoder.segmentation_output.\1"),
    (r"heads\.(\d)\.(\w+)", r"decoder.deep_supervision_outputs.\1.\2"),
]


def _named(network, rules):
    named = OrderedDict()
    for ours, weight in network.state_dict().items():
        names = [match.expand(new) for old, new in rules if (match := re.fullmatch(old, ours))]
        named[names[0]] = nnunets_kernels(weight)
    return named


def version2(folder: Path, *, residual=False, channels=1, classes=2) -> Built:
    """Plans, ``dataset.json`` and ``fold_0/checkpoint_final.pth``, with NumPy's numbers as nnU-Net leaves them."""
    network = tiny_network(residual=residual, channels=channels, classes=classes)
    weights = _named(network, V2_RESIDUAL if residual else V2_PLAIN)
    for name, weight in list(weights.items()):  # nnU-Net lists its layers under several names
        weights[re.sub(r"\.(conv|norm)\.(\w+)$", r".all_modules.0.\2", name)] = weight
        if name.startswith("encoder."):
            weights[f"decoder.{name}"] = weight
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet."
        + ("ResidualEncoderUNet" if residual else "PlainConvUNet"),
        "arch_kwargs": {
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
            "dropout_op": None,
        },
    }
    configuration = {
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": nnunets_order([24, 20, 20]),
        "spacing": nnunets_order([8.0, 8.0, 8.0]),
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "architecture": architecture,
    }
    plans = {
        "dataset_name": "Dataset501_tiny",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(TRANSPOSE),
        "configurations": {"3d_fullres": configuration, "3d_big": {"inherits_from": "3d_fullres", "batch_size": 4}},
    }
    dataset = {
        "channel_names": {str(index): f"T{index + 1}w" for index in range(channels)},
        "labels": {"background": 0, **{f"lesion {index}": index for index in range(1, classes)}},
    }
    content = {
        "network_weights": weights,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float32(0.5)], "lrs": [0.01], "epoch": np.int64(3), "other": np.float64(1)},
        "_best_ema": np.float32(0.5),
        "current_epoch": 3,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu"), "plans": plans},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }
    (folder / "fold_0").mkdir(parents=True)
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    built = Built(folder, network, plans, dataset)
    built.write()
    return built


def version1(folder: Path, *, residual=False) -> Built:
    """``plans.pkl``, ``fold_0/model_final_checkpoint.model``: NumPy's numbers and arrays, protocol 2 as it was then."""
    network = tiny_network(residual=residual, version=1)
    weights = _named(network, V1_RESIDUAL if residual else V1_PLAIN)
    if residual:
        for name, weight in list(weights.items()):
            if name.startswith("decoder.stages"):
                weights[re.sub(r"\.(conv|norm)\.(\w+)$", r".all.0.\2", name)] = weight
    stage = {
        "batch_size": 2,
        "patch_size": np.array(nnunets_order([24, 20, 20])),
        "current_spacing": np.array(nnunets_order([8.0, 8.0, 8.0])),
        "pool_op_kernel_sizes": [[2, 2, 2]],
    }
    plans = {
        "num_classes": 1,
        "modalities": {0: "T1"},
        "normalization_schemes": OrderedDict({0: "nonCT"}),
        "use_mask_for_norm": OrderedDict({0: np.False_}),
        "transpose_forward": list(TRANSPOSE),
        "plans_per_stage": {0: stage},
    }
    content = {"epoch": 5, "state_dict": weights, "plot_stuff": ([np.float32(0.3)], []), "optimizer_state_dict": None}
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(pickle.dumps(plans, protocol=2))
    torch.save(content, folder / "fold_0" / "model_final_checkpoint.model")
    return Built(folder, network, plans)
