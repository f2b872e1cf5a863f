"""The run's numbers, tables and pictures on Weights & Biases, or in its offline files.

Knows no model, and no file of ours but ``metrics.csv``: it repeats what of an earlier start did not reach the board.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, cast

import pandas as pd
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from strokelab import terminal
from strokelab.buildable import buildable
from strokelab.callbacks.run_facts import CASE_TABLE, OVERLAYS, STEP, TAG_LIMIT, EvaluationFacts, RunFacts
from strokelab.callbacks.sharing import (
    ShownDataset,
    may_share_case_ids,
    may_share_images,
    shared_settings,
    shared_table,
)
from strokelab.callbacks.wandb_media import Slice, images_of, means_of, report_of, table_of
from strokelab.callbacks.wandb_session import Session, chosen_mode, mark_ended, open_session, run_id, set_aside
from strokelab.errors import StrokelabError

P = ParamSpec("P")

EVALUATE = "evaluate"
"""The job type of evaluations."""

BEST = {"val/dice": "max", "val/pooled_dice": "max", "val/micro_dice": "max", "val/loss": "min", "val/hd95": "min"}
"""Metrics whose best value over the epochs stands in the run's summary, as ``val/dice.max``."""


class ScoredCases(Protocol):
    """What is needed of ``scoring.Scores``."""

    @property
    def cases(self) -> pd.DataFrame:
        """One row per case."""


def _spared(method: Callable[P, None]) -> Callable[P, None]:
    """What wandb fails at ends the logging, never the training."""

    @wraps(method)
    def spared(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except StrokelabError:
            raise
        except Exception as error:  # of any kind: wandb is a process of its own, behind a network of its own
            cast(WeightsAndBiases, args[0])._give_up(error)

    return spared


@buildable(training=("logger", "callbacks"))
class WeightsAndBiases(WandbLogger):
    """A logger whose names and values are those of ``metrics.csv``; one run per run folder, however often it starts.

    Steps are the trainer's: what a resumed run logs again never stands twice. Of the processes of a training only the
    first has a run.

    Args:
        save_dir: where its files go: the run folder.
        project: the project on the server.
        entity: the user or team; None: ``WANDB_ENTITY``, else the login's own.
        mode: ``online``, ``offline`` or ``disabled``; None: ``WANDB_MODE``, else online where this machine has a key
            and offline where it has none, so that a training never waits for a login.
        group: what runs are grouped by; None: the sweep.
        job_type: ``train``, ``evaluate``, ...
        name: of the run; None: ``family-dataset-heldout-seed``.
        tags: besides family, dataset, split, fold and held-out site.
        share_images: whether overlays may leave this machine; None: of phantoms only.
        share_case_ids: whether case ids may; None: of phantoms and public datasets only, others are numbered.
        log_model: also keep this checkpoint as an artifact: ``best``, ``last`` or False.
        init_timeout: seconds to wait for the server before the run goes on offline.
    """

    def __init__(
        self,
        save_dir: str | Path,
        *,
        project: str = "strokelab",
        entity: str | None = None,
        mode: str | None = None,
        group: str | None = None,
        job_type: str = "train",
        name: str | None = None,
        tags: Sequence[str] = (),
        share_images: bool | None = None,
        share_case_ids: bool | None = None,
        log_model: Literal["best", "last"] | bool = False,
        init_timeout: float = 30.0,
    ) -> None:
        super().__init__(save_dir=save_dir, project=project, name=name)
        self.asked_mode = mode
        self.mode = chosen_mode(mode)
        self.entity, self.group, self.job_type = entity, group, job_type
        self.tags = list(tags)
        self.share_images, self.share_case_ids = share_images, share_case_ids
        self.checkpoint = "best" if log_model is True else log_model
        self.init_timeout = init_timeout
        self._facts: RunFacts | None = None
        self._session: Session | None = None
        self._lost = False  # wandb failed
        self._last_step = 0  # smaller ones are on the board

    def describe(self, facts: RunFacts) -> None:
        """Learn what the run is, before its first number; the caller ends the run with ``close``."""
        self._facts = facts

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Wandb's run, opened when it is first needed; nothing that can fail once wandb has failed."""
        if self._session is None and not self._lost:
            self._open()
        return self._session.run if self._session else None

    @property
    def version(self) -> str | None:
        """The id on the board."""
        return str(self._session.run.id) if self._session else None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing where the run was described: its config is the settings."""
        if self._facts is None:
            super().log_hyperparams(params)

    @rank_zero_only
    @_spared
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log under the trainer's step; what the board has already of an earlier start is not sent again."""
        step = self._last_step if step is None else step
        run = self.experiment
        if self._session and self._last_step <= step:
            run.log({**metrics, STEP: step}, step=step)
            self._last_step = step

    @rank_zero_only
    @_spared
    def log_cases(self, scores: ScoredCases) -> None:
        """The test part: means as ``test/dice`` and so on, and one row per case as ``test/per_case``."""
        run = self.experiment
        if self._session:
            table = table_of(shared_table(scores.cases, case_ids=self._knows_case_ids()))
            run.log({**means_of(scores.cases), CASE_TABLE: table}, step=self._last_step)

    @property
    def takes_overlays(self) -> bool:
        """Whether pictures of this run's cases may be given to the board."""
        if self._facts is None or self._session is None or self._session.mode == "disabled":
            return False
        return may_share_images(self._facts, self.share_images)[0]

    @rank_zero_only
    @_spared
    def log_overlays(self, slices: Sequence[Slice]) -> None:
        """Pictures of a few cases with reference and prediction as masks, if ``takes_overlays``."""
        run = self.experiment
        if slices and self.takes_overlays:
            images = images_of(slices, case_ids=self._knows_case_ids())
            run.log({OVERLAYS: images}, step=self._last_step)

    @rank_zero_only
    @_spared
    def log_evaluation(self, facts: EvaluationFacts) -> None:
        """An evaluation as a run of its own: leaderboard, cases, tables and figures; the caller ends it."""
        run = self.experiment
        if not self._session:
            return
        known = [ShownDataset(name, phantom) for name, phantom in facts.datasets.items()]
        ids = all(may_share_case_ids(one, self.share_case_ids) for one in known)
        barred = [why for one in known for allowed, why in [may_share_images(one, self.share_images)] if not allowed]
        if barred and facts.scans:
            _say(f"No pictures of scans go to W&B ({barred[0]}); logger.wandb.share_images=true sends them")
        config = {"models": [*facts.models], "datasets": [*facts.datasets], "phantom": any(facts.datasets.values())}
        run.config.update(config | ({"command": facts.command} if ids else {}))
        run.log(report_of(facts, case_ids=ids, scans=not barred))
        best = facts.leaderboard.iloc[0].to_dict() if len(facts.leaderboard) else {}
        run.summary.update({f"best/{name}": value for name, value in best.items()})

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Nothing: a checkpoint asked for goes up once, when the run ends."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, unless who described it will: its test part comes after the training."""
        if self._facts is None:
            self.close(0 if status == "success" else 1)

    @rank_zero_only
    @_spared
    def close(self, exit_code: int) -> None:
        """Write what is left and end the run, so that nothing else is ever logged into it."""
        if self._session is None:
            return
        session, self._session = self._session, None
        try:
            if self._facts is not None and exit_code == 0:
                self._log_checkpoint(session.run, self._facts)
                kept = sorted(path.stem for path in (self._facts.folder / "checkpoints").glob("snapshot-*.ckpt"))
                if kept:
                    session.run.summary["snapshots"] = kept
                mark_ended(self._facts.folder)
        finally:
            session.close(exit_code)

    def _knows_case_ids(self) -> bool:
        return self._facts is None or may_share_case_ids(self._facts, self.share_case_ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}  # an open run stays with its process

    def _give_up(self, error: Exception) -> None:
        first = (str(error).splitlines() or [""])[0][:200]
        _say(f"W&B failed ({type(error).__name__}: {first}): the run goes on without it, metrics.csv has its numbers")
        if self._session:
            self._session.abandon()
        self._lost, self._session = True, None

    @_spared
    def _open(self) -> None:
        facts = self._facts
        folder = facts.folder if facts else Path(str(self.save_dir))
        known: dict[str, Any] = {}
        unknown = True
        if facts is not None:
            known["id"] = run_id(folder, facts.settings, resumed=facts.resumed_step is not None)
            unknown = set_aside(folder, known["id"])
        self._session = open_session(
            folder, self.asked_mode, init_timeout=self.init_timeout, **known, **self._named(facts)
        )
        _say(self._session.message)
        run = self._session.run
        self._last_step = int(run.step) if self._session.mode == "online" else 0
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        for metric, best in BEST.items():
            run.define_metric(metric, step_metric=STEP, step_sync=True, summary=f"{best},last")
        if facts is None:
            return
        allowed, why = may_share_images(facts, self.share_images)
        if not allowed and self._session.mode != "disabled":
            _say(f"No pictures go to W&B ({why}); logger.wandb.share_images=true sends them")
        if facts.resumed_step is not None and (unknown or self._session.mode == "online"):
            for step, row in _history(folder / "metrics.csv"):
                self.log_metrics(row, step)

    def _named(self, facts: RunFacts | None) -> dict[str, Any]:
        given = {"project": self._project, "entity": self.entity, "job_type": self.job_type}
        if facts is None:
            known = {"group": self.group, "name": self._name, "tags": [tag[:TAG_LIMIT] for tag in self.tags] or None}
            # The command line may name cases; an evaluation says it itself where it may.
            return given | known | ({"settings": {"x_disable_meta": True}} if self.job_type == EVALUATE else {})
        case_ids = self._knows_case_ids()
        return given | {
            "group": self.group or facts.sweep or None,
            "name": self._name or facts.name,
            "tags": list(dict.fromkeys([*facts.tags, *(tag[:TAG_LIMIT] for tag in self.tags)])),
            "config": {**shared_settings(facts, case_ids=case_ids), **facts.keys},
            "settings": {} if case_ids else {"x_disable_meta": True},  # the command line may name cases
        }

    def _log_checkpoint(self, run: Any, facts: RunFacts) -> None:
        import wandb

        if not self.checkpoint:
            return
        file = facts.folder / "checkpoints" / f"{self.checkpoint}.ckpt"
        if not file.is_file():
            _say(f"No checkpoint goes to W&B: there is no {file.name}")
            return
        metadata = {**facts.keys, "checkpoint": self.checkpoint}
        artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=metadata)
        artifact.add_file(str(file), name="model.ckpt")
        run.log_artifact(artifact, aliases=[self.checkpoint])


def _say(message: str) -> None:
    terminal.console().print(message, markup=False, highlight=False, soft_wrap=True)


def _history(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """The rows of ``metrics.csv`` that a resumed run kept: step and values."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            yield int(row["step"]), {name: float(text) for name, text in row.items() if name != "step" and text}
