"""Masks of unlabelled scans in the layout of the ATLAS v2.0 challenge. Copies files; predicts nothing itself.

A BIDS derivative that the challenge's scorer finds by its name, one file per scan
(``sub-*/ses-*/anat/sub-*_ses-*_space-MNI152NLin2009aSym_label-L_mask.nii.gz``, 0 or 1, on the scan's grid), and all of
it as one zip to be uploaded.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.errors import DataError
from strokelab.evaluation.new_scans import Applying, Writing, segment
from strokelab.files import make_folder, replacing, write_json
from strokelab.inference.derivative import Derivative

DERIVATIVE = "atlas2_prediction"
_SPACE = "MNI152NLin2009aSym"


@dataclass(frozen=True)
class Submission:
    """What was written: the folder, the zip beside it, and how many masks they hold."""

    folder: Path
    archive: Path
    masks: int


def submit(
    places: Sequence[Path], root: Path, out: Path, applying: Applying, *, dataset: str, console: Console
) -> Submission:
    """Predict the test scans of ATLAS v2.0 and lay the masks out for the challenge; goes on where it was stopped.

    Args:
        places: run folders and sweeps, of which the mean is taken.
        root: the release, with its scans for testing.
        out: gets ``predictions``, ``atlas2_prediction`` and ``atlas2_prediction.zip``.
        applying: how the runs are applied.
        dataset: ``atlas_v2``.
        console: where to print.

    Raises:
        StrokelabError: the release has no such scans, or they cannot be predicted.
    """
    cases = read_cases(dataset, root, subset="testing")
    predictions = out / "predictions"
    images = [case.reference_image for case in cases]
    segment([*places, *images], applying, Writing(predictions, resume=True), console=console)
    return lay_out(cases, predictions, out)


def lay_out(cases: Sequence[Case], predictions: Path, out: Path) -> Submission:
    """Copy the masks of ``strokelab predict`` into the challenge's layout, and pack them.

    Args:
        cases: all that the challenge expects a mask of; their ids are ``sub-*_ses-*``.
        predictions: folder that ``strokelab predict`` wrote.
        out: see ``submit``.

    Raises:
        DataError: a scan has no mask there: the scorer would turn the whole submission down.
    """
    rows = Derivative(predictions, name="strokelab", provenance={}).rows().values()
    masks = {(predictions / row.image).resolve(): row.mask for row in rows if row.image}
    missing = [case.case_id for case in cases if case.reference_image.resolve() not in masks]
    if missing:
        raise DataError(
            predictions,
            found=f"no mask of {len(missing)} of {len(cases)} scans, first {missing[0]}",
            expected="a mask of every scan of the test set",
            remedy="repeat the command: it predicts those that are missing",
        )
    folder = make_folder(out / DERIVATIVE)
    written = []
    for case in cases:
        subject, session = case.case_id.split("_")[:2]
        name = f"{subject}_{session}_space-{_SPACE}_label-L_mask.nii.gz"
        place = folder / subject / session / "anat" / name
        make_folder(place.parent)
        with replacing(place) as fresh:
            shutil.copyfile(masks[case.reference_image.resolve()], fresh)
        written.append(place)
    description = {"Name": DERIVATIVE, "BIDSVersion": "1.6.0", "PipelineDescription": {"Name": DERIVATIVE}}
    write_json(folder / "dataset_description.json", description)
    archive = folder.with_suffix(".zip")
    with replacing(archive) as fresh, zipfile.ZipFile(fresh, "w") as packed:  # the masks are packed already
        for path in [folder / "dataset_description.json", *written]:
            packed.write(path, path.relative_to(folder).as_posix())
    return Submission(folder, archive, len(written))
