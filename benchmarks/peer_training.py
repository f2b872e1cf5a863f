"""nnU-Net itself, driven through its own classes: plan and preprocess, train, predict. Runs in its environment only.

``python -m benchmarks.peer_training STEP JSON``; the folders come from nnU-Net's three variables. Asked for by
``benchmarks.nnunet_phantoms``; knows nothing of strokelab.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Watch, report

PLANS = "nnUNetPlans"
CONFIGURATION = "3d_fullres"
_CLASSES = {False: "PlainConvUNet", True: "ResidualEncoderUNet"}


def prepare(number: int, plan: dict[str, Any] | None = None) -> None:
    """Fingerprint, plan and preprocess; then the plan's own network and patch give way to those asked for.

    Args:
        number: of the dataset.
        plan: ``patch`` (voxels), ``batch_size``, ``widths``, ``kernels``, ``strides``, ``residual``, ``blocks``
            (of the encoder's stages) and ``units`` (of the decoder's), axes in the order X, Y, Z; optionally
            ``transpose``, nnU-Net's ``transpose_forward``. None: nnU-Net's own.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
    from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

    api.extract_fingerprints([number], num_processes=1, check_dataset_integrity=True)
    api.plan_experiments([number])
    folder = Path(str(nnUNet_preprocessed)) / convert_id_to_dataset_name(number)
    if plan is not None:
        path = folder / f"{PLANS}.json"
        content = json.loads(path.read_text())
        _impose(plan, content)
        path.write_text(json.dumps(content, indent=2))
    api.preprocess([number], PLANS, configurations=[CONFIGURATION], num_processes=[1])
    ours = Path(str(nnUNet_raw)) / folder.name / "splits_final.json"
    if ours.is_file():
        shutil.copy(ours, folder / ours.name)


def _impose(plan: dict[str, Any], content: dict[str, Any]) -> None:
    before = content["transpose_forward"]
    after = content["transpose_forward"] = plan.get("transpose", before)
    content["transpose_backward"] = [after.index(axis) for axis in range(3)]
    axes = [2 - axis for axis in after]  # of X, Y, Z, in the order of nnU-Net's arrays
    chosen = content["configurations"][CONFIGURATION]
    chosen["spacing"] = [chosen["spacing"][before.index(axis)] for axis in after]
    chosen["patch_size"] = [plan["patch"][axis] for axis in axes]
    chosen["batch_size"] = plan["batch_size"]
    stages = len(plan["widths"])
    architecture = chosen["architecture"]
    kind = _CLASSES[bool(plan.get("residual"))]
    architecture["network_class_name"] = f"dynamic_network_architectures.architectures.unet.{kind}"
    kwargs = architecture["arch_kwargs"]
    kwargs.pop("n_conv_per_stage", None)
    kwargs |= {
        "n_stages": stages,
        "features_per_stage": plan["widths"],
        "kernel_sizes": [[kernel[axis] for axis in axes] for kernel in plan["kernels"]],
        "strides": [[stride[axis] for axis in axes] for stride in plan["strides"]],
        "n_conv_per_stage_decoder": [plan.get("units", 2)] * (stages - 1),
        ("n_blocks_per_stage" if plan.get("residual") else "n_conv_per_stage"): plan.get("blocks", [2] * stages),
    }


def train(
    number: int,
    folds: Sequence[int | str],
    *,
    epochs: int,
    iterations: int,
    validation_iterations: int = 1,
    rate: float | None = None,
    momentum: float | None = None,
) -> None:
    """Train folds from fresh weights for ``epochs`` x ``iterations`` steps; what is None stays as nnU-Net has it."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for fold in folds:
        trainer = get_trainer_from_args(str(number), CONFIGURATION, fold, device=device)
        trainer.num_epochs = epochs
        trainer.num_iterations_per_epoch = iterations
        trainer.num_val_iterations_per_epoch = validation_iterations
        trainer.initial_lr = trainer.initial_lr if rate is None else rate
        trainer.initialize()
        for group in trainer.optimizer.param_groups:
            group["momentum"] = group["momentum"] if momentum is None else momentum
        trainer.run_training()


def predict(
    model: str, folds: Sequence[int | str], inputs: Sequence[Sequence[str]], outputs: Sequence[str], **options: Any
) -> None:
    """Predict cases with a trained model's folds, as ``nnUNetv2_predict_from_modelfolder`` does.

    Args:
        model: folder of the trained model.
        folds: whose logits are averaged.
        inputs: the files of each case, one per channel.
        outputs: its prediction's path without an ending.
        options: ``probabilities`` (bool), ``mirror`` (bool), ``step`` (share of a patch), ``float32`` (bool): sums and
            weights in float32 in place of nnU-Net's float16.
    """
    import torch
    from nnunetv2.inference import predict_from_raw_data as peer

    if options.get("float32"):
        torch.half = torch.float32
        peer.compute_gaussian = functools.partial(peer.compute_gaussian, dtype=torch.float32)
        peer.compute_gaussian.cache_clear = lambda: None
    predictor = peer.nnUNetPredictor(
        tile_step_size=options.get("step", 0.5),
        use_mirroring=options.get("mirror", True),
        perform_everything_on_device=torch.cuda.is_available(),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(model, tuple(folds))
    for output in outputs:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(
        [list(files) for files in inputs], list(outputs), save_probabilities=options.get("probabilities", False)
    )


if __name__ == "__main__":
    # Loader processes; planning needs one, training in one process needs none.
    os.environ.setdefault("nnUNet_n_proc_DA", "0" if sys.argv[1] == "train" else "1")
    watch = Watch()
    {"prepare": prepare, "train": train, "predict": predict}[sys.argv[1]](**json.loads(sys.argv[2]))
    report(**watch.read())
