"""Originals above their mirrored channels, one picture a case (Clèrigues 2019, SUNet). Knows cases; knows no run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from strokelab.contract import Case, Mirrored, PreparedCase
from strokelab.errors import StrokelabError
from strokelab.files import make_folder, replacing
from strokelab.preparation.mirror import PREFIX, Mirror
from strokelab.preparation.parallel import outcomes
from strokelab.preparation.progress import bar
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.report.cohort_pictures import Scans
from strokelab.report.overlays import PLANES, head_box, letters, through_largest_lesion, window
from strokelab.report.pictures import Section, file_name, stored

_INCHES = 2.2  # of a picture's width


@dataclass(frozen=True)
class Picture:
    """What became of one case: a picture, or what stood in its way."""

    case_id: str
    path: Path
    mirrored: Mirrored | None = None
    failure: StrokelabError | None = None


def mirror_pictures(cases: Sequence[Case], folder: Path, *, workers: int = 1) -> Iterator[Picture]:
    """Prepare cases with mirrored channels, at their own spacing, and write ``<case>_mirrored.png``; a bar on stderr.

    Args:
        cases: each with all its modalities.
        folder: of the pictures; made if it is not there.
        workers: processes.

    Yields:
        One picture per case, as they finish.
    """
    make_folder(folder)
    jobs = [(case, folder / f"{file_name(case.case_id)}_mirrored.png") for case in cases]
    with bar(f"Mirroring {len(jobs)} case{'s' * (len(jobs) > 1)}", len(jobs), shown=True) as shown:
        for _, (picture, messages) in outcomes(_write, jobs, workers):
            for message, category in messages:
                warnings.warn(message, category, stacklevel=2)
            shown.advance(shown.task_ids[0])
            yield picture


def mirrored_section(scans: Scans) -> Section:
    """One case above its mirrored channels: the second of the data set, as the paper shows, or the only one.

    Raises:
        StrokelabError: it cannot be prepared.
    """
    case = scans.cases[min(1, len(scans.cases) - 1)]
    prepared, mirrored = _prepared(case)
    picture = stored(
        f"mirrored_{file_name(case.case_id)}",
        mirror_figure(prepared, mirrored),
        caption=f"{case.case_id}: every modality above its mirrored channel, the axial slice through the largest "
        "lesion. The patient's right is on the left.",
        alt=f"Axial slices of {case.case_id}, as they are and mirrored.",
        wide=True,
        photo=True,
    )
    return Section("mirrored", "Mirrored modalities", (picture,))


def mirror_figure(prepared: PreparedCase, mirrored: Mirrored) -> Figure:
    """Modalities side by side, each above its mirrored channel: the axial slice through the largest lesion.

    Without a lesion it is the slice with most brain.
    """
    names = [name for name in prepared.channels if f"{PREFIX}{name}" in prepared.channels]
    plane = PLANES[0]
    lesion = prepared.lesion if prepared.lesion is not None and prepared.lesion.any() else prepared.brain
    height = through_largest_lesion(lesion)[plane.normal]
    volumes = dict(zip(prepared.channels, prepared.image, strict=True))
    box = head_box(volumes[names[0]], lesion != 0)
    width_mm, height_mm = plane.size_mm(volumes[names[0]][box], prepared.grid.spacing)
    size = (_INCHES * max(len(names), 2), 2 * _INCHES * height_mm / width_mm + 0.6)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    rows = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        low, high = window(volumes[name])  # one for both, so that they compare
        for axes, channel in zip(rows[:, column], (name, f"{PREFIX}{name}"), strict=True):
            picture = plane.cut(volumes[channel][box], height - box[plane.normal].start)
            extent = (0.0, width_mm, 0.0, height_mm)
            axes.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
            axes.set_title(channel, fontsize=9, parse_math=False)
            letters(axes, plane)
    how = "plain flip" if mirrored.is_flip else f"aligned by {mirrored.reference}"
    title = f"{prepared.case_id}: {how}\ncorrelation {mirrored.correlation:.3f}, flip {mirrored.flip_correlation:.3f}"
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure


def _write(job: tuple[Case, Path]) -> tuple[Picture, list[tuple[str, type[Warning]]]]:
    """One case's picture; runs in a worker process or in the caller's."""
    case, path = job
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            prepared, mirrored = _prepared(case)
            with replacing(path) as temporary:
                mirror_figure(prepared, mirrored).savefig(temporary, format="png", dpi=110)
            picture = Picture(case.case_id, path, mirrored)
        except StrokelabError as error:
            picture = Picture(case.case_id, path, failure=error)
    return picture, [(str(one.message), one.category) for one in caught]


def _prepared(case: Case) -> tuple[PreparedCase, Mirrored]:
    prepared = prepare(case, Preparation(tuple(case.images), normalize="none", mirror=Mirror(enabled=True)))
    assert prepared.mirrored is not None  # it is enabled
    return prepared, prepared.mirrored
