"""What the loop is asked for, checked before anything is trained. Composes settings and reads cases; starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from strokelab import terminal
from strokelab.configuration import Settings, build, compose, plain
from strokelab.errors import ConfigError, DataError
from strokelab.preparation.recipe import Preparation
from strokelab.self_training.teachers import SCHEMES

if TYPE_CHECKING:
    from strokelab.data.datamodule import CohortDataModule

SWEEP = "mapping_schemes"
STUDENT = "nnunet_selftraining"
# What the loop sets itself, from stage to stage.
_OWN = (
    "model",
    "name",
    "sweep",
    "run_dir",
    "resume",
    "split.fold",
    "score_test",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
)
_FLAGS = ("--config-dir", "-cd")


@dataclass(frozen=True)
class Loop:
    """A loop that can be started.

    Args:
        overrides: the user's, flags among them.
        schemes: that may teach.
        folds: of the cross-validation.
        datamodule: for the cohort's cases; without a split.
        trainer: settings of the trainer.
        folder: of all its runs.
    """

    overrides: tuple[str, ...]
    schemes: tuple[str, ...]
    folds: int
    datamodule: CohortDataModule
    trainer: Settings
    folder: Path

    @property
    def teaching(self) -> list[str]:
        """Overrides of the sweep that trains the teachers."""
        return [*self.overrides, f"sweep={SWEEP}", f"model={','.join(self.schemes)}"]

    def learning(self, labels: Path, digest: str, *, weight: float, per_fold: bool) -> list[str]:
        """Overrides of the sweep that trains the students."""
        from strokelab.command_words import quoted

        told = [f"data.pseudo.root={quoted(str(labels))}", f"data.pseudo.digest='{digest}'"]
        told += [f"data.pseudo.weight={weight}"] if weight != 1 else []
        told += [] if per_fold else ["data.pseudo.per_fold=false"]
        return [*self.overrides, f"sweep={SWEEP}", f"model={STUDENT}", *told]


def loop_of(overrides: Sequence[str], folder: Path, *, schemes: Sequence[str] = SCHEMES) -> Loop:
    """The loop that a command asks for.

    Args:
        overrides: as ``train.py -m`` takes them.
        folder: where its runs go.
        schemes: that may teach.

    Raises:
        ConfigError: a setting that the loop makes itself, an unknown scheme, or a split without folds.
        DataError: the cohort cannot be read, or has no unlabelled case.
    """
    _refuse_own(overrides)
    unknown = [scheme for scheme in schemes if scheme not in SCHEMES]
    if unknown or not schemes:
        raise ConfigError(
            "--schemes", found=f"{list(schemes)}", expected=f"some of {list(SCHEMES)}", remedy="correct the names"
        )
    settings = plain(compose("train", [*_composable(overrides), f"sweep={SWEEP}", f"model={schemes[0]}"]))
    folds = settings["split"].get("folds")
    if not isinstance(folds, int) or folds < 2:
        raise ConfigError(
            "split",
            found=f"{settings['split'].get('_target_')} with folds={folds}",
            expected="a cross-validation with two folds or more",
            remedy="choose split=size_balanced_kfold, split=kfold, or split=from_file with a file of folds",
        )
    data = {**settings["data"], "pseudo": None, "batch_size": 1}
    # Before it is split, a cohort asks its view for the modalities alone.
    view = SimpleNamespace(preparation=Preparation(tuple(data["modalities"])))
    datamodule: CohortDataModule = build(data, view=view, split=None)
    if not datamodule.unlabelled:
        raise DataError(
            str(datamodule.root),
            found=f"{len(datamodule.cases)} cases of {datamodule.dataset}, all of them with masks",
            expected="unlabelled cases to learn from, such as the half Testing of ATLAS v2.0",
            remedy="add them to the folder (data.only_sites and data.exclude may leave them out), or train without "
            f"self-training: {terminal.door_command('train')} -m sweep={SWEEP}",
        )
    return Loop(tuple(overrides), tuple(schemes), folds, datamodule, settings["trainer"], folder)


def _refuse_own(overrides: Sequence[str]) -> None:
    for item in overrides:
        key = item.lstrip("+~").partition("=")[0]
        if key in _OWN or key.startswith("data.pseudo"):
            raise ConfigError(
                key,
                found=f"{item} beside self-training",
                expected="settings of data, split, trainer and the like; the loop chooses models, folds and folders",
                remedy="leave it out; --out, --schemes, --weight and --per-fold say what the loop can be told",
            )


def _composable(overrides: Sequence[str]) -> list[str]:
    """The overrides for composing here: a folder of the user's own configs is a place to search, in other words."""
    items: list[str] = []
    given = iter(overrides)
    for item in given:
        flag, _, value = item.partition("=")
        if flag in _FLAGS:
            items.append(f"hydra.searchpath=[file://{Path(value or next(given, '.')).resolve()}]")
        else:
            items.append(item)
    return items


def device_of(trainer: Settings) -> str:
    """Where the trainer trains, as a device to predict on."""
    import torch

    wanted: Any = trainer.get("accelerator")
    return "cuda" if wanted in ("gpu", "cuda", "auto") and torch.cuda.is_available() else "cpu"
