import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_material import ALL_PARTS, CONF, case_row, case_table, grey

from strokelab.metrics.thresholds import count_probabilities, to_rows
from strokelab.report.html import write_report
from strokelab.report.material import Evaluation, ListedMember, Overlay, RunMaterial
from strokelab.report.paper_tables import load_tables


@pytest.fixture(scope="session")
def overlay() -> Overlay:
    image = np.random.default_rng(0).random((20, 24, 16)).astype(np.float32)
    reference, prediction = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    reference[4:9, 6:11, 5:9] = 1
    prediction[6:11, 6:11, 5:9] = 1
    return Overlay("best", "a1", 0.9, image, reference, prediction, (1.0, 1.0, 2.0))


@pytest.fixture(scope="session")
def history() -> pd.DataFrame:
    """As Lightning's CSVLogger writes: step rows and epoch rows, each with half of the columns."""
    rows = []
    for epoch in range(4):
        rows += [{"epoch": epoch, "step": 10 * epoch + k, "train/loss": 3.0 - epoch + 0.1 * k} for k in (0, 2)]
        rows.append(
            {
                "epoch": epoch,
                "step": 10 * epoch + 9,
                "val/pooled_dice": 0.1 * epoch,
                "site/accuracy": 0.4 - 0.05 * epoch,
                "site/balanced_accuracy": 0.38 - 0.05 * epoch,
                "site/chance": 0.125,
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def evaluation(overlay: Overlay, history: pd.DataFrame) -> Evaluation:
    unet = RunMaterial(
        name="unet-0",
        model="unet2d",
        dataset="atlas_v1",
        cases=case_table(
            case_row("a1", "5", 0.25), case_row("a2", "5", 0.5, hd95=np.inf), case_row("a10", "5", 0.75, lesion_ml=0.2)
        ),
        held_out_site="5",
        seed=0,
        sites=("1", "2", "3"),
        parts=frozenset(),
        history=history[["epoch", "step", "train/loss", "val/pooled_dice"]],
    )
    sgnet = RunMaterial(
        name="sgnet-0",
        model="sgnet",
        dataset="atlas_v1",
        cases=case_table(
            case_row("a1", "5", 0.6), case_row("a2", "5", 0.7), case_row("a10", "5", np.nan, error="truncated file")
        ),
        held_out_site="5",
        seed=0,
        sites=("1", "2", "3"),
        parts=ALL_PARTS,
        training_scans={"1": 20, "2": 10, "3": 10},
        history=history,
        grey_values=grey(),
        overlays=(overlay,),
    )
    return Evaluation(
        title="Held-out site 5",
        dataset="phantom cohort",
        runs=(unet, sgnet),
        phantom=True,
        protocol={"voxel spacing": "4 mm"},
        papers=load_tables(CONF, "sgnet_*"),
        versions={"strokelab": "0.1.0"},
        created="2026-01-02 03:04",
    )


@pytest.fixture(scope="session")
def full_evaluation(evaluation: Evaluation, overlay: Overlay) -> Evaluation:
    """Everything a report can hold: worst cases to walk through, probabilities, a sweep with gaps."""
    unet, sgnet = evaluation.runs
    labels = {"worst": "a2", "worst 2": "a1"}
    shifted = np.roll(overlay.prediction, 2, axis=1)  # false alarms right and in front, misses left and behind
    worst = [dataclasses.replace(overlay, label=k, case=case, prediction=shifted) for k, case in labels.items()]
    rng = np.random.default_rng(5)
    reference = overlay.reference != 0
    certain = np.clip(0.6 * reference + rng.normal(0.15, 0.1, reference.shape), 0, 1)
    rows = to_rows(count_probabilities(certain, reference)).assign(run="sgnet-0", case="a1")
    return dataclasses.replace(
        evaluation,
        runs=(
            dataclasses.replace(unet, overlays=(overlay, worst[0])),
            dataclasses.replace(sgnet, overlays=(overlay, *worst), probabilities=rows),
        ),
        members=(
            ListedMember("0", "finished", "model=unet2d"),
            ListedMember("1", "finished", "model=sgnet"),
            ListedMember("2", "failed", "model=sgnet seed=1", "DataError: no mask"),
        ),
    )


@pytest.fixture(scope="session")
def full_report(full_evaluation: Evaluation, tmp_path_factory) -> Path:
    """The page of ``full_evaluation``; read only."""
    return write_report(full_evaluation, tmp_path_factory.mktemp("full"))
