"""The comparison board of a W&B project as code: built here and read without a network, published with a login.

Knows the names that ``callbacks.weights_and_biases`` logs; knows no run.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab.callbacks.run_facts import CASE_TABLE, KEYS, LEADERBOARD, MATRIX, OVERLAYS, STEP
from strokelab.errors import ConfigError
from strokelab.files import write_json

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

GROUPS = ("family", "held_out", "dataset", "sweep", "stage_names", "classes", "synthetic_ratio", "fold", "seed")


@dataclass(frozen=True)
class Board:
    """What the board shows.

    Args:
        project: on the server.
        entity: user or team; None: ``WANDB_ENTITY``, else the login's own.
        group_by: config key (``GROUPS``) whose runs become one line or bar.
        dataset: only runs on this one, e.g. ``atlas_v1``; phantoms are ``phantom_atlas_v1``; None: all.
        vary: settings that a search varied, e.g. ``model.optimizer.lr``: axes beside the Dice.

    Raises:
        ConfigError: nothing is called like ``group_by``.
    """

    project: str = "strokelab"
    entity: str | None = None
    group_by: str = "family"
    dataset: str | None = None
    vary: Sequence[str] = ("model.optimizer.lr",)

    def __post_init__(self) -> None:
        if self.group_by not in GROUPS:
            raise ConfigError(
                "--group-by",
                found=repr(self.group_by),
                expected=f"one of {', '.join(GROUPS)}",
                remedy="choose one of them; --vary takes any setting",
            )


def workspace(board: Board) -> Workspace:
    """The workspace, not yet anywhere but here.

    Raises:
        ConfigError: wandb-workspaces is not installed.
    """
    _need_library()
    import wandb_workspaces.workspaces as ws

    chosen = [ws.Config("dataset") == board.dataset] if board.dataset else []
    return ws.Workspace(
        entity=board.entity or os.environ.get("WANDB_ENTITY", ""),
        project=board.project,
        name="strokelab" + (f": {board.dataset}" if board.dataset else ""),
        sections=[
            ws.Section(
                name=name, panels=panels, is_open=True, layout_settings=ws.SectionLayoutSettings(columns=columns)
            )
            for name, columns, panels in _sections(board)
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=chosen,
            groupby=[ws.Config(board.group_by)],
            order=[ws.Ordering(ws.Summary("test/dice"), ascending=False)],
            pinned_columns=[f"config:{key}" for key in KEYS if key != "phantom"] + ["summary:test/dice"],
        ),
    )


def specification(board: Board) -> dict[str, Any]:
    """The workspace as the server gets it, as plain data.

    Raises:
        ConfigError: as ``workspace``.
    """
    return workspace(board)._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


def write_specification(board: Board, path: Path) -> Path:
    """Write the workspace as JSON, to be read or compared.

    Raises:
        ConfigError: as ``workspace``.
    """
    write_json(path, specification(board))
    return path


def publish(board: Board) -> str:
    """Save the workspace in the project and return its address.

    Raises:
        ConfigError: as ``workspace``; there is no login, or the server refuses.
    """
    from strokelab.callbacks.wandb_session import has_key

    _need_library()
    if not has_key():
        raise ConfigError(
            "--publish",
            found="no key for W&B on this machine",
            expected="WANDB_API_KEY, or a login",
            remedy="run `wandb login`; without --publish the board is only written as a file",
        )
    import wandb

    try:
        entity = board.entity or os.environ.get("WANDB_ENTITY") or str(wandb.Api().default_entity)
        view: Any = workspace(replace(board, entity=entity))
        view.save()
    except Exception as error:  # network, rights, project: the library has no class of its own for them
        raise ConfigError(
            f"{board.entity or ''}/{board.project}",
            found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}",
            expected="a project of W&B that this login may change",
            remedy="name it with --entity and --project; it exists once a run was logged online or synced",
        ) from error
    return str(view.url)


def _sections(board: Board) -> list[tuple[str, int, list[Any]]]:
    """Title, columns and panels of every section, from the result down to its reasons."""
    return [
        ("Leaderboard", 1, _leaderboard()),
        ("Held-out Dice", 2, [_bars("test/dice", "family"), _bars("test/dice", "held_out"), *_axes(board)]),
        (
            "Distances, lesions, volumes",
            3,
            [_bars(f"test/{name}", board.group_by) for name in ("hd95", "lesion_f1", "volume_difference")],
        ),
        (
            "Curves",
            2,
            [
                _lines("Dice of validation cases", "val/dice"),
                _lines("Pooled Dice of validation slices or patches", "val/pooled_dice"),
                _lines(
                    "Curves only: pooled Dice of held-out cases, nothing is chosen by it", "curves_only/pooled_dice"
                ),
                _lines("Training loss", "train/loss"),
                _lines("Validation loss", "val/loss"),
            ],
        ),
        (
            "Which site is it?",
            2,
            [
                _lines("Accuracy of the site classifier; below: chance and always the largest", *_SITE),
                _lines("Its loss", "site/loss"),
            ],
        ),
        (
            "Trainings in stages, snapshots",
            2,
            [_lines("Stage, from 1", "stage"), _lines("Learning rate of kept snapshots", "snapshot/rate")],
        ),
        ("Case by case", 2, _cases()),
        ("What differs between runs", 1, [_comparer()]),
    ]


_SITE = ("site/balanced_accuracy", "site/accuracy", "site/chance", "site/majority")


def _bars(metric: str, key: str) -> Any:
    from wandb_workspaces.reports.v2 import interface as wr

    title = f"{metric.removeprefix('test/')} of the test part by {key.replace('_', ' ')}, mean and SD over runs"
    return wr.BarPlot(
        title=title,
        metrics=[metric],
        groupby=wr.Config(key),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        orientation="v",
        max_bars_to_show=40,
    )


def _lines(title: str, *metrics: str) -> Any:
    from wandb_workspaces.reports.v2 import interface as wr

    return wr.LinePlot(title=title, x=STEP, y=list(metrics), title_x="step", max_runs_to_show=100)


def _axes(board: Board) -> list[Any]:
    from wandb_workspaces.reports.v2 import interface as wr

    def axes(*keys: str) -> list[Any]:
        columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key), display_name=key) for key in keys]
        return [*columns, wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric("test/dice"))]

    return [
        wr.ParallelCoordinatesPlot(title="Every run: who, where, how well", columns=axes("family", "held_out", "seed")),
        wr.ParallelCoordinatesPlot(title="Search: settings and Dice", columns=axes(*board.vary)),
    ]


def _leaderboard() -> list[Any]:
    """Every run by its Dice, and what evaluations logged: models on datasets, best first, and train by test."""
    from wandb_workspaces.reports.v2 import interface as wr

    title = "Dice of the test part, run by run; the list of runs is sorted by it"
    return [
        wr.BarPlot(title=title, metrics=["test/dice"], orientation="h", max_bars_to_show=100),
        wr.WeavePanelSummaryTable(table_name=LEADERBOARD),
        wr.WeavePanelSummaryTable(table_name=MATRIX),
    ]


def _cases() -> list[Any]:
    from wandb_workspaces.reports.v2 import interface as wr

    return [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": CASE_TABLE}},
            chart_name="wandb/scatter/v0",
            chart_fields={"x": "lesion_ml", "y": "dice"},
            chart_strings={"title": "Dice against lesion volume (ml), one point per test case"},
        ),
        wr.MediaBrowser(title="Best, median, worst: annotated and predicted", media_keys=[OVERLAYS], num_columns=3),
        wr.WeavePanelSummaryTable(table_name=CASE_TABLE),
    ]


def _comparer() -> Any:
    from wandb_workspaces.reports.v2 import interface as wr

    return wr.RunComparer(diff_only="split")


def _need_library() -> None:
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise ConfigError(
            "strokelab dashboard",
            found="wandb-workspaces is not installed",
            expected="the extra that builds boards",
            remedy="pip install 'strokelab[dashboard]'",
        )
