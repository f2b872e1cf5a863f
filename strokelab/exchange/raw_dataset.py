"""A cohort written as an nnU-Net raw dataset, with our folds, so that anybody can train nnU-Net on the same data.

Knows cases and splits; knows no model and no preparation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from strokelab.contract import Case, check_unique
from strokelab.data.split_file import Split
from strokelab.errors import ConfigError, DataError
from strokelab.files import make_folder, natural_key, replacing, write_json
from strokelab.nifti import read_grid, read_lesion, read_voxels, write_volume
from strokelab.placement import check_covers
from strokelab.preparation.regrid import image_on

ENDING = ".nii.gz"
LABELS = {"background": 0, "lesion": 1}
SPLITS = "splits_final.json"


@dataclass(frozen=True)
class RawDataset:
    """What was written.

    Args:
        folder: ``DatasetNNN_name``, for nnU-Net's ``nnUNet_raw``.
        labelled: ids of the cases in ``imagesTr`` and ``labelsTr``.
        unlabelled: ids of those in ``imagesTs``.
        modalities: the channels, in order.
        folds: how many ``splits_final.json`` holds; 0: there is none, nnU-Net deals its own.
        resampled: images that lay on another grid than their case's reference image, as ``case modality``.
    """

    folder: Path
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    modalities: tuple[str, ...]
    folds: int
    resampled: tuple[str, ...] = field(default=())


def export_nnunet(
    cases: Sequence[Case],
    out: Path,
    *,
    name: str,
    number: int = 501,
    splits: Sequence[Split] = (),
    modalities: Sequence[str] = (),
    workers: int = 2,
) -> RawDataset:
    """Write cases as ``OUT/DatasetNNN_name``: images as float32, several masks of a case as their union, ids as names.

    nnU-Net wants all images of a case on one grid: those that lie elsewhere are brought onto the reference image's,
    linearly, with their own background outside, and are named in the answer. A fold's training part becomes nnU-Net's
    ``train`` and its test part ``val``, on which nnU-Net chooses nothing; our own ``val`` part is in neither.

    Args:
        cases: of one cohort; the unlabelled ones go to ``imagesTs``.
        out: nnU-Net's folder of raw datasets.
        name: of the dataset, letters, digits and underscores.
        number: of the dataset, 1 to 999, not used by another one there.
        splits: the folds, in order.
        modalities: the channels, in order; empty: those of the first case.
        workers: threads that read and pack.

    Raises:
        DataError: a case lacks a modality, has one that does not overlap the others, or cannot be read; an id is no
            file name, no case is labelled, or the folder is there already.
        ConfigError: a name or number that nnU-Net does not take, or splits that name other cases.
    """
    _check_name(name, number)
    check_unique(cases, "cohort")
    channels = tuple(modalities) or tuple(cases[0].images if cases else ())
    _check_cases(cases, channels)
    labelled, unlabelled = (tuple(case for case in cases if case.labelled is wanted) for wanted in (True, False))
    if not labelled:
        raise DataError(
            "cohort", found=f"{len(cases)} cases, none labelled", expected="masks to train on", remedy="use another one"
        )
    _check_splits(splits, {case.case_id for case in labelled})
    final = out / f"Dataset{number:03d}_{name}"
    taken = sorted(path.name for path in out.glob(f"Dataset{number:03d}_*"))
    if taken:
        raise DataError(
            out / taken[0],
            found="a dataset of this number",
            expected="a number of its own, by which nnU-Net calls it",
            remedy="choose another number with --id, or remove the folder",
        )
    make_folder(out)
    with replacing(final) as folder:
        write = partial(_write_case, folder=folder, channels=channels)
        with ThreadPoolExecutor(max(1, workers)) as threads:
            resampled = [name for names in threads.map(write, cases) for name in names]
        content = {
            "channel_names": {str(index): channel for index, channel in enumerate(channels)},
            "labels": LABELS,
            "numTraining": len(labelled),
            "file_ending": ENDING,
        }
        write_json(folder / "dataset.json", content)
        if splits:
            write_json(folder / SPLITS, [{"train": [*split.train], "val": [*split.test]} for split in splits])
    trained, hidden = (tuple(case.case_id for case in group) for group in (labelled, unlabelled))
    return RawDataset(final, trained, hidden, channels, len(splits), tuple(resampled))


def recorded_splits(sweep: Path) -> list[Split]:
    """The folds that the runs of a sweep were trained in, each once, in the order of the folders' names.

    Raises:
        DataError: there is no run, or a split that cannot be read.
    """
    found: dict[tuple[str, ...], Split] = {}
    for path in sorted(sweep.glob("*/split.csv"), key=lambda path: natural_key(str(path))):
        split = Split.read(path)
        found.setdefault(tuple(sorted(split.test)), split)
    if not found:
        raise DataError(
            sweep, found="no run with a split.csv", expected="the folder of a sweep", remedy="check the path"
        )
    return [*found.values()]


def _write_case(case: Case, *, folder: Path, channels: Sequence[str]) -> list[str]:
    """One case's files; names the images that had to be resampled."""
    grid = read_grid(case.reference_image)
    resampled = []
    for index, channel in enumerate(channels):
        voxels, own = read_voxels(case.images[channel])
        if not own.matches(grid):
            check_covers(case.images[channel], own, case.reference_image, grid)
            voxels = image_on(voxels, own, grid)
            resampled.append(f"{case.case_id} {channel}")
        part = "imagesTr" if case.labelled else "imagesTs"
        write_volume(folder / part / f"{case.case_id}_{index:04d}{ENDING}", voxels, grid)
    if case.labelled:
        lesion = read_lesion(case.lesions, grid, case.reference_image)
        write_volume(folder / "labelsTr" / f"{case.case_id}{ENDING}", lesion, grid)
    return resampled


def _check_name(name: str, number: int) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_]+", name) or not 1 <= number <= 999:
        raise ConfigError(
            f"dataset {number} {name!r}",
            found="what nnU-Net does not take",
            expected="a number from 1 to 999, a name of letters, digits and underscores",
            remedy="set --id and --name",
        )


def _check_cases(cases: Sequence[Case], channels: Sequence[str]) -> None:
    for case in cases:
        missing = [channel for channel in channels if channel not in case.images]
        if missing or not re.fullmatch(r"[\w.-]+", case.case_id):
            raise DataError(
                f"case {case.case_id}",
                found=f"no {', '.join(missing)}" if missing else "an id that is no file name",
                expected=f"the modalities {', '.join(channels)}" if missing else "letters, digits, dots and dashes",
                remedy="choose modalities that all cases have with --modality" if missing else "rename the case",
            )


def _check_splits(splits: Sequence[Split], labelled: set[str]) -> None:
    for index, split in enumerate(splits):
        strange = sorted({*split.train, *split.test} - labelled)
        if strange:
            raise ConfigError(
                f"fold {index}",
                found=f"{len(strange)} cases that the cohort has no mask of, e.g. {strange[0]!r}",
                expected="folds of this cohort",
                remedy="check that dataset and folds belong together",
            )
