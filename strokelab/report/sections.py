"""Which pictures a report holds, in which order, and what is said where there is none. Knows no HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from strokelab.metrics.profiles import METRICS
from strokelab.report.figures import box_plots, curves, grey_value_figure, png, site_accuracy, size_scatter
from strokelab.report.intensities import SiteHistograms
from strokelab.report.material import Evaluation, RunMaterial, finite
from strokelab.report.overlays import three_planes

BOX_METRICS = ("dice", "recall", "precision", "lesion_f1")


@dataclass(frozen=True)
class Picture:
    """One figure as it goes into the page and into ``figures/<name>.png``."""

    name: str
    caption: str
    png: bytes
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, its pictures, and sentences above them (also the reason why there is no picture)."""

    anchor: str
    title: str
    pictures: tuple[Picture, ...] = ()
    sentences: tuple[str, ...] = ()


def picture_sections(evaluation: Evaluation) -> list[Section]:
    """Every section of pictures, in the order of the page."""
    return [_by_site(evaluation), _by_size(evaluation), _overlays(evaluation), _training(evaluation), _grey(evaluation)]


def file_name(text: str) -> str:
    """A name that is safe in any file system, made from anything."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "unnamed"


def _by_site(evaluation: Evaluation) -> Section:
    cases = evaluation.cases
    pictures = [
        _picture(
            f"{metric}_by_site",
            box_plots(cases, metric, evaluation.profile),
            f"{METRICS[metric].title} per site. Box: quartiles and median; whiskers: 1.5 times the quartile range; "
            "dots: single cases; diamond: mean.",
        )
        for metric in BOX_METRICS
        if finite(cases[metric]).size
    ]
    sentences = () if pictures else ("No case could be scored, so there is nothing to draw.",)
    return Section("sites", "Site by site", tuple(pictures), sentences)


def _by_size(evaluation: Evaluation) -> Section:
    cases = evaluation.cases
    shown = cases[(cases["lesion_ml"] > 0) & cases["dice"].notna()]
    if shown.empty:
        return Section("size", "Lesion size", sentences=("No scored case holds a lesion.",))
    empty = int((cases["lesion_ml"] == 0).sum())
    note = f" {empty} rows without a lesion are not shown." if empty else ""
    caption = f"Dice against the volume of the drawn lesion, one mark per case and run.{note}"
    return Section("size", "Lesion size", (_picture("dice_by_size", size_scatter(cases), caption),))


def _overlays(evaluation: Evaluation) -> Section:
    pictures = [
        _picture(
            f"overlays_{file_name(run.name)}",
            three_planes(run.overlays),
            f"{run.name}: {', '.join(overlay.label for overlay in run.overlays)} case by Dice, cut through the largest "
            "lesion. Radiological view: the patient's right is on the left.",
            wide=True,
        )
        for run in evaluation.runs
        if run.overlays
    ]
    sentences = () if pictures else ("No overlays: no case with both a lesion and a prediction came with these runs.",)
    return Section("overlays", "Best, median and worst case", tuple(pictures), sentences)


def _training(evaluation: Evaluation) -> Section:
    runs = evaluation.runs
    if all(run.history is None for run in runs):
        return Section("training", "Training", sentences=("No training log (metrics.csv) came with these runs.",))
    repeats = " Band: one SD over the runs of a model." if len(runs) > len(evaluation.models) else ""
    drawn: list[tuple[str, Figure | None, str]] = [
        (
            "loss",
            curves(runs, {"train/loss": "total loss"}, ylabel="Total training loss"),
            "Total training loss per epoch, site loss included where there is one." + repeats,
        ),
        (
            "validation_dice",
            curves(runs, {"val/pooled_dice": "validation Dice"}, ylabel="Pooled Dice ↑"),
            "Pooled Dice on the validation cases of the training sites, for orientation only." + repeats,
        ),
        (
            "site_accuracy",
            site_accuracy(runs),
            "How well the site classifier tells the training sites apart; the reversed gradient is to bring it down to "
            "chance (1/K). On sites of unequal size, always naming the largest gives the upper line." + repeats,
        ),
    ]
    pictures = tuple(_picture(name, figure, caption) for name, figure, caption in drawn if figure is not None)
    sentences = []
    if not any(picture.name == "site_accuracy" for picture in pictures):
        sentences.append("No run trained a site classifier, so there is no site accuracy to show.")
    without = [run.name for run in runs if run.history is None]
    if without:
        sentences.append(f"Without a training log: {', '.join(without)}.")
    return Section("training", "Training", pictures, tuple(sentences))


def _grey(evaluation: Evaluation) -> Section:
    shown = [run for run in evaluation.runs if run.grey_values is not None]
    if not shown:
        return Section(
            "intensities",
            "Grey values per site",
            sentences=("No run standardises its input (MAIN), so there is no before and after to show.",),
        )
    pictures, sentences = [], []
    for run in shown:
        assert run.grey_values is not None
        values = run.grey_values
        caption = (
            f"{run.name}: grey values per site before and after MAIN, one axial slice (index 93 of 189 at 1 mm) of "
            f"each of {values.scans} scans. After MAIN everything outside the brain is 0."
        )
        pictures.append(_picture(f"grey_values_{file_name(run.name)}", grey_value_figure(values), caption, wide=True))
        sentences.append(_distance_sentence(run, values.before_brain, values.after_brain))
    sentences += _absent(evaluation)
    return Section("intensities", "Grey values per site", tuple(pictures), tuple(sentences))


def _absent(evaluation: Evaluation) -> list[str]:
    absent = [run for run in evaluation.runs if run.grey_values is None]
    with_main = [run.name for run in absent if run.parts is not None and "standardizer" in run.parts]
    without = list(dict.fromkeys(run.model for run in absent if run.name not in with_main))
    sentences = [f"Nothing to show for runs without MAIN ({', '.join(without)})."] if without else []
    return sentences + ([f"Not drawn: {', '.join(with_main)}."] if with_main else [])


def _distance_sentence(run: RunMaterial, before: SiteHistograms, after: SiteHistograms) -> str:
    if before.distance != before.distance:  # NaN
        return f"{run.name}: one site only, so there is no distance between sites."
    return (
        f"{run.name}: mean pairwise Wasserstein-1 distance between the sites' brain pixels "
        f"{before.distance:.4f} before MAIN, {after.distance:.4f} after; in units of the pooled SD, which a mere "
        f"rescaling leaves as it is, {before.relative_distance:.3f} before and {after.relative_distance:.3f} after."
    )


def _picture(name: str, figure: Figure, caption: str, wide: bool = False) -> Picture:
    return Picture(name, caption, png(figure), wide)


def names_of(sections: Sequence[Section]) -> list[str]:
    """Picture names over all sections, in order."""
    return [picture.name for section in sections for picture in section.pictures]
