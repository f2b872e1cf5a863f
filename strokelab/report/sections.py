"""Which pictures a report holds, in which order, and what is said where there is none. Knows no HTML."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from strokelab.metrics.profiles import METRICS
from strokelab.report.curves import threshold_section
from strokelab.report.differences import difference_section
from strokelab.report.figures import box_plots, size_scatter
from strokelab.report.grey_values import grey_value_section
from strokelab.report.input_boxes import input_section
from strokelab.report.material import Evaluation, Overlay, RunMaterial, finite
from strokelab.report.method_panels import method_section
from strokelab.report.overlays import three_planes
from strokelab.report.pictures import Picture, Section, file_name, listed, stored
from strokelab.report.postprocessing import postprocessing_section
from strokelab.report.training import training_section
from strokelab.report.tuning import tuning_section

BOX_METRICS = ("dice", "recall", "precision", "lesion_f1")
MOST_OVERLAYS = 4  # runs on the page, unless there are more models; further ones lie in the folder


def picture_sections(evaluation: Evaluation) -> list[Section]:
    """Every section of pictures, in the order of the page; masks without a run have none about training."""
    sections = [
        by_site(evaluation),
        difference_section(evaluation),
        by_size(evaluation),
        threshold_section(evaluation),
        overlay_section(evaluation),
    ]
    if any(run.shared_overlays for run in evaluation.runs):
        sections.append(method_section(evaluation))
    if "modality" in evaluation.cases:
        sections.append(input_section(evaluation))
    for made in (postprocessing_section(evaluation), tuning_section(evaluation)):
        sections += [made] if made is not None else []
    if any(run.trained for run in evaluation.runs):
        sections += [training_section(evaluation), grey_value_section(evaluation)]
    return sections


def by_site(evaluation: Evaluation) -> Section:
    """Box plots of the main metrics."""
    cases = evaluation.cases
    pictures = [
        stored(
            f"{metric}_by_site",
            box_plots(cases, metric, evaluation.profile),
            caption=f"{METRICS[metric].title} per site. Box: quartiles and median; whiskers: 1.5 times the quartile "
            "range; small marks: single cases; diamond: mean.",
            alt=f"Box plots of {METRICS[metric].title} per site for {listed(evaluation.models)}.",
        )
        for metric in BOX_METRICS
        if finite(cases[metric]).size
    ]
    sentences = () if pictures else ("No case could be scored, so there is nothing to draw.",)
    return Section("sites", "Site by site", tuple(pictures), sentences)


def by_size(evaluation: Evaluation) -> Section:
    """Dice against the volume of the lesion."""
    cases = evaluation.cases
    if cases[(cases["lesion_ml"] > 0) & cases["dice"].notna()].empty:
        return Section("sizes", "By lesion size", sentences=("No scored case holds a lesion.",))
    empty = int((cases["lesion_ml"] == 0).sum())
    note = f" {empty} rows without a lesion are not shown." if empty else ""
    picture = stored(
        "dice_by_size",
        size_scatter(cases),
        caption="Dice against the volume of the annotated lesion, one mark per case and run; line: least squares on "
        "the logarithm of the volume, R² its share of the variance, p of the slope as if marks were independent."
        f"{note}",
        alt=f"Scatter of Dice against lesion volume for {listed(evaluation.models)}, with fitted lines.",
    )
    return Section("sizes", "By lesion size", (picture,))


def overlay_section(evaluation: Evaluation) -> Section:
    """Three planes of the cases that came with a run; where they are many, of some runs only."""
    shown = _on_page([run for run in evaluation.runs if run.overlays])
    pictures = [_overlay_picture(run, on_page=run.name in shown) for run in evaluation.runs if run.overlays]
    sentences = [] if pictures else ["No overlays: no case with both a lesion and a prediction came with these runs."]
    further = [picture.name for picture in pictures if not picture.on_page]
    pictures += [_size_picture(run) for run in evaluation.runs if run.size_overlays]
    if further:
        sentences.append(
            f"Shown are the runs of each model with the lowest Dice, so that this file stays small. In figures/ lie "
            f"{len(further)} more: {', '.join(further)}."
        )
    return Section("overlays", "Cases to look at", tuple(pictures), tuple(sentences))


def _overlay_picture(run: RunMaterial, *, on_page: bool) -> Picture:
    labels = listed([overlay.label for overlay in run.overlays])
    return _cuts(
        run, "overlays", run.overlays, f"{labels} case by Dice, cut through the largest lesion.", on_page=on_page
    )


def _size_picture(run: RunMaterial) -> Picture:
    caption = (
        "the largest and the smallest lesions, cut through the largest of each case. Reference blue, prediction red, "
        "the more probable the redder."
    )
    return _cuts(run, "size_overlays", run.size_overlays, caption)


def _cuts(run: RunMaterial, kind: str, shown: Sequence[Overlay], caption: str, *, on_page: bool = True) -> Picture:
    rows = listed([f"{overlay.label} {overlay.case} (Dice {overlay.dice:.3f})" for overlay in shown])
    return stored(
        f"{kind}_{file_name(run.name)}",
        three_planes(shown),
        caption=f"{run.name}: {caption} Radiological view: the patient's right is on the left.",
        alt=f"Axial, coronal and sagittal cut with marked voxels: {rows}.",
        wide=True,
        photo=True,
        on_page=on_page,
    )


def _on_page(runs: Sequence[RunMaterial]) -> set[str]:
    """Every model's run with the lowest Dice, then their second ones, until the page has enough."""
    lowest = pd.DataFrame(
        [(run.name, run.model, min(overlay.dice for overlay in run.overlays)) for run in runs],
        columns=["run", "model", "dice"],
    )
    lowest["turn"] = lowest.groupby("model")["dice"].rank(method="first")
    most = max(MOST_OVERLAYS, lowest["model"].nunique())
    return set(lowest.sort_values(["turn", "dice"], kind="stable")["run"][:most])
