"""Evaluations on boards: what ``logger=wandb`` is given of a report that is written. Computes no number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from strokelab.configuration import Settings, build
from strokelab.errors import ConfigError
from strokelab.report.exports import NOTE
from strokelab.report.summary import HEADLINE

_OF_CASES = ("cases", "runs", "members", "members_missing", "tested")
"""Tables that list cases, folders or errors: these stay here."""
_OF_SCANS = ("overlays_", "size_overlays_")


def check_loggers(nodes: Mapping[str, Settings]) -> None:
    """Loggers that can be given an evaluation.

    Raises:
        ConfigError: one cannot.
    """
    for name, node in nodes.items():
        if not str(node.get("_target_")).endswith(".WeightsAndBiases"):
            raise ConfigError(
                f"logger={name}",
                found=str(node.get("_target_")),
                expected="a logger that takes tables and figures of an evaluation",
                remedy="choose logger=wandb, or leave it out",
            )


def log_evaluation(
    nodes: Mapping[str, Settings],
    out: Path,
    *,
    models: Sequence[str],
    datasets: Iterable[tuple[str, bool]],
    leaderboard: pd.DataFrame,
    cases: pd.DataFrame,
    command: str,
) -> None:
    """Give an evaluation to every logger, each as a run of its own.

    Args:
        nodes: of ``conf/logger``; empty: nothing is logged.
        out: folder of the report.
        models: that were evaluated.
        datasets: readers' names, and whether synthetic: what is one name's twice is real unless both are synthetic.
        leaderboard: a row per model (and dataset), best first.
        cases: the case table.
        command: what was typed.

    Raises:
        ConfigError: a logger cannot be built.
    """
    if not nodes:
        return
    from strokelab.callbacks.run_facts import EvaluationFacts

    synthetic: dict[str, bool] = {}
    for name, phantom in datasets:
        synthetic[name] = phantom and synthetic.get(name, True)
    written = _written(out)
    pictures = [path for path in written if path.suffix == ".png"]
    facts = EvaluationFacts(
        name=out.name,
        models=models,
        datasets=synthetic,
        leaderboard=leaderboard,
        cases=cases,
        tables=[path for path in written if path.suffix == ".csv" and path.stem not in _OF_CASES],
        figures=[path for path in pictures if not path.stem.startswith(_OF_SCANS)],
        scans=[path for path in pictures if path.stem.startswith(_OF_SCANS)],
        command=command,
    )
    tags = [*dict.fromkeys((*models, *synthetic))]
    for node in nodes.values():
        asked: dict[str, Any] = {**node, "save_dir": str(out), "job_type": "evaluate"}
        asked |= {"name": node.get("name") or facts.name, "tags": [*tags, *(node.get("tags") or ())]}
        logger: Any = build(asked)
        logger.log_evaluation(facts)
        logger.close(0)


def leaderboard_of(summary: pd.DataFrame) -> pd.DataFrame:
    """A row per model, best Dice first: what ``summary.csv`` has of each.

    Args:
        summary: of ``report.summary.summary_table``.
    """
    lines = summary[(summary["level"] == "model") & summary["metric"].isin(HEADLINE)]
    return _best_first(lines.assign(dataset=""), "mean", keys=["model"])


def leaderboard_of_matrix(lines: pd.DataFrame) -> pd.DataFrame:
    """A row per model and dataset, best Dice first, of the contrast that stands for the model.

    Args:
        lines: of ``report.train_by_test.cell_lines``.
    """
    if lines.empty:
        return pd.DataFrame(columns=["model", "dataset", "n", "dice"])
    main = lines[lines["main"].astype(bool) & (lines["statistic"] == "mean")]
    return _best_first(main, "estimate", keys=["model", "dataset", "modality"])


def _best_first(lines: pd.DataFrame, value: str, *, keys: list[str]) -> pd.DataFrame:
    rows = []
    for labels, own in lines.groupby(keys, sort=False):
        row: dict[str, Any] = dict(zip(keys, labels, strict=True))
        for _, line in own.iterrows():
            metric = str(line["metric"])
            row |= {"n": int(line["n"])} if metric == "dice" else {}
            row |= {metric: float(line[value])}
            row |= {f"{metric}_{end}": float(line[end]) for end in ("low", "high")} if metric == "dice" else {}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values("dice", ascending=False, kind="stable", ignore_index=True) if "dice" in table else table


def _written(out: Path) -> list[Path]:
    """Figures and tables of the report, by its own note."""
    names: list[str] = json.loads((out / NOTE).read_text(encoding="utf-8"))["files"]
    return [out / name for name in names]
