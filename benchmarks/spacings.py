"""What a model loses on scans of other voxel sizes than it was trained on: ``python -m benchmarks.spacings FOLDER``.

Phantoms of 1 mm are resampled to 4 mm, models are trained there, and the same test subjects are predicted at 2, 3 and
4 mm and at 3 x 3 x 5 mm, each scored on its own grid. Beside it stands what resampling the masks alone costs: the
4 mm reference mask brought to each grid, scored against the reference there. What is left between the two is ours.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

from strokelab.contract import Case
from strokelab.grid import Grid, Resample
from strokelab.nifti import read_lesion, read_voxels, write_volume
from strokelab.preparation.regrid import image_onto, mask_onto

GRIDS = {
    "4 mm": (4.0, 4.0, 4.0),
    "2 mm": (2.0, 2.0, 2.0),
    "3 mm": (3.0, 3.0, 3.0),
    "3 x 3 x 5 mm": (3.0, 3.0, 5.0),
}
SMALL = [  # conf/experiment/sgnet_small.yaml on another dataset
    "view.preparation.crop=[48,56,null]",
    "view.preparation.offset=[0,1,null]",
    "view.sampler.min_brain_pixels=16",
    "model.network.base=12",
    "model.network.depth=4",
    "model.loss._target_=strokelab.losses.compound.DiceBCELoss",
    "model.loss.over=batch",
    "model.scheduler.gamma=0.85",
    "optimizer@model.optimizer=adamw",
    "data.batch_size=32",
]
FAMILIES = {
    "unet2d": ["model=unet2d", *SMALL],
    "sgnet": ["model=sgnet", *SMALL],
    "nnunet": [
        "model=nnunet",
        "view.sampler.patch=[32,32,32]",
        "view.windows.patch=[32,32,32]",
        "view.sampler.iterations_per_epoch=25",
        "planner.width=8",
        "data.batch_size=2",
        "model.optimizer.lr=0.05",
    ],
}
TRAINED = "4 mm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--cases-per-site", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    cases = _cases(args.folder / "1mm", args.cases_per_site)
    held = [case for case in cases if case.site == cases[-1].site]
    for name in GRIDS:
        _write(held if name != TRAINED else cases, args.folder / _slug(name), GRIDS[name])
    for family in args.family or FAMILIES:
        run = args.folder / f"run-{family}"
        if not (run / "cases.csv").is_file():
            _train(family, args.folder / _slug(TRAINED), run, cases[-1].site or "", args.epochs)
        _report(family, run, held, args.folder)


def _cases(root: Path, per_site: int) -> list[Case]:
    from strokelab.data import read_cases
    from strokelab.phantoms.cohort import write_cohort

    write_cohort("atlas_v1", root, spacing=1.0, sites=3, cases_per_site=per_site, smallest_mm3=1000, progress=False)
    return read_cases("atlas_v1", root)


def _slug(name: str) -> str:
    return name.replace(" ", "")


def _write(cases: list[Case], folder: Path, spacing: tuple[float, float, float]) -> None:
    """The cases at a spacing, over the same field of view, as ``data=folder`` reads them."""
    table = folder / "cases.csv"
    if table.is_file():
        return
    for case in cases:
        voxels, native = read_voxels(case.reference_image)
        steps = [Resample(native, native.resized(spacing))]
        lesion = mask_onto(read_lesion(case.lesions, native, case.reference_image), steps)
        write_volume(
            folder / "images" / f"{case.case_id}_T1w.nii.gz", image_onto(voxels, native, steps), steps[0].target
        )
        write_volume(folder / "labels" / f"{case.case_id}.nii.gz", lesion, steps[0].target)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["case", "subject", "site"], *([case.case_id, case.subject_id, case.site] for case in cases)]
        )


def _train(family: str, data: Path, run: Path, held_site: str, epochs: int) -> None:
    common = ["data=folder", f"data.root={data}", "data.modalities=[T1w]", "split=leave_one_site_out"]
    short = [f"split.fold={held_site}", f"trainer.max_epochs={epochs}", "callbacks.case_metrics=null", f"run_dir={run}"]
    subprocess.run([sys.executable, "train.py", *FAMILIES[family], *common, *short], check=True)


def _report(family: str, run: Path, held: list[Case], folder: Path) -> None:
    from strokelab.runs import load_run

    model = load_run(run)
    names = [family, "mean Dice", "loss", "masks alone", "beyond", "in the worst subject", "what was done"]
    print(f"| {' | '.join(names)} |\n{'| --- ' * len(names)}|")
    at_trained: list[float] = []
    for name in GRIDS:
        dices, masks, done = [], [], ""
        for case in held:
            image = folder / _slug(name) / "images" / f"{case.case_id}_T1w.nii.gz"
            truth, grid = read_voxels(folder / _slug(name) / "labels" / f"{case.case_id}.nii.gz")
            coarse, coarse_grid = read_voxels(folder / _slug(TRAINED) / "labels" / f"{case.case_id}.nii.gz")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                prediction = model.predict(image)
            dices.append(_dice(prediction.mask, truth))
            masks.append(_dice(_brought(coarse, coarse_grid, grid), truth))
            done = prediction.provenance["preparation"]
        at_trained = at_trained or dices
        losses = [usual - dice for usual, dice in zip(at_trained, dices, strict=True)]
        beyond = [loss - (1 - mask) for loss, mask in zip(losses, masks, strict=True)]
        numbers = [statistics.mean(dices), statistics.mean(losses), 1 - statistics.mean(masks), statistics.mean(beyond)]
        print(f"| {name} | {' | '.join(f'{number:.3f}' for number in [*numbers, max(beyond)])} | {done} |", flush=True)


def _brought(mask: object, grid: Grid, target: Grid) -> object:
    return mask if grid.matches(target) else mask_onto(mask, [Resample(grid, target)])  # type: ignore[arg-type]


def _dice(found: object, truth: object) -> float:
    import numpy as np

    one, other = np.asarray(found) > 0, np.asarray(truth) > 0
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


if __name__ == "__main__":
    main()
