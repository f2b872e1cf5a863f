"""A trained nnU-Net model becomes run folders, one per fold, that predict, ensemble and are scored like our own.

Executes nothing of the model folder (``foreign_files``). The knowledge of either version is in its own module.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from strokelab import runs
from strokelab.command_words import word
from strokelab.configuration import Settings, bind, compose, plain
from strokelab.data import read_cases
from strokelab.data.split_file import Split
from strokelab.errors import ConfigError, DataError, DataWarning, RunError
from strokelab.exchange import version1, version2
from strokelab.exchange.foreign_run import check_names, write_foreign
from strokelab.exchange.trained_model import TrainedModel
from strokelab.files import natural_key
from strokelab.preparation.adc import PERFUSION
from strokelab.sweeps.record import PROCESSES, Door, SweepMember, add_members, own_script

CHECKPOINTS = tuple(version1.FILES)


@dataclass(frozen=True)
class Origin:
    """The data a model was trained on, where they are at hand: its runs are then evaluated on what they did not see.

    Args:
        cohort: the section ``cohort`` of a run's settings: ``dataset``, ``root``, ``options``, ``phantom``.
        splits: nnU-Net's ``splits_final.json``, whose names are case ids; None: nobody knows who was trained on.
    """

    cohort: Mapping[str, Any]
    splits: Path | None = None

    @classmethod
    def of(cls, dataset: str, root: Path, splits: Path | None = None) -> Origin:
        """Of a dataset as a reader finds it at ``root``."""
        return cls(
            {"dataset": dataset, "root": str(root.expanduser().resolve()), "options": {}, "phantom": False}, splits
        )

    @cached_property
    def subjects(self) -> dict[str, str]:
        """Case id -> subject.

        Raises:
            DataError: the data cannot be read.
        """
        cases = read_cases(self.cohort["dataset"], Path(self.cohort["root"]), **self.cohort["options"])
        return {case.case_id: case.subject_id for case in cases}


def import_nnunet(
    folder: Path,
    out: Path,
    *,
    folds: Sequence[str] = (),
    checkpoint: str = "final",
    modalities: Sequence[str] = (),
    origin: Origin | None = None,
) -> list[Path]:
    """Write a trained model's folds as run folders.

    Windows, mirroring, weighting and averaging are nnU-Net's own, computed in float32, so that the masks are the same
    up to voxels on the decision's edge and in the corners of a volume: nnU-Net v2 sums in float16, in which its weights
    there are next to nothing. Where a scan's spacing is not the plan's, both resample, by different rules: masks then
    differ at their border.

    Args:
        folder: with ``plans.json`` (v2) or ``plans.pkl`` (v1) and the folders of the folds.
        out: a single named fold's run folder; otherwise each fold becomes ``out/fold_N``, and ``out`` a sweep.
        folds: their names, e.g. ``["0"]``; empty: all there are.
        checkpoint: ``"final"``, ``"best"`` or ``"latest"``.
        modalities: our names of the channels, in order; empty: nnU-Net's.
        origin: the data it was trained on.

    Returns:
        The run folders.

    Raises:
        RunError: the folder is no model, a file is not safe to read, the model is one that we would not predict
            alike, or another run lies at ``out``.
        ConfigError: another checkpoint, or other modalities than channels.
    """
    if checkpoint not in CHECKPOINTS:
        raise ConfigError(
            "checkpoint", found=repr(checkpoint), expected=f"one of {list(CHECKPOINTS)}", remedy="choose --checkpoint"
        )
    version = _version(folder)
    chosen = [str(fold) for fold in folds] or _folds(folder, version)
    written = []
    for fold in chosen:
        if version == 2:
            model = version2.read_model(folder, fold, checkpoint=checkpoint, modalities=modalities)
        else:
            model = version1.read_model(folder, fold, checkpoint=checkpoint, modalities=modalities)
        place = out if len(folds) == 1 else out / f"fold_{fold}"
        _write(model, place, _split(origin, fold, checkpoint), origin)
        written.append(place)
    if len(folds) != 1:
        _record(out, dict(zip(chosen, written, strict=True)))
    return written


def _record(out: Path, places: Mapping[str, Path]) -> None:
    """Make the folder of several folds a sweep, which ``evaluate.py sweep=...`` takes whole."""
    members = [
        SweepMember(number, (f"split.fold={fold}",), place.resolve(), "")
        for number, (fold, place) in enumerate(places.items())
    ]
    door = Door(own_script(), Path.cwd(), sys.executable)  # nobody is left to be started
    add_members(out.resolve(), members, door=door, launcher=PROCESSES)


def _version(folder: Path) -> int:
    for version, plans in ((2, version2.PLANS), (1, version1.PLANS)):
        if (folder / plans).is_file():
            return version
        if (folder.parent / plans).is_file() and folder.name.startswith("fold_"):
            raise RunError(
                folder,
                found="a single fold",
                expected=f"the folder with {plans}, which holds the folds",
                remedy=f"name {word(folder.parent)} and add --fold {folder.name.removeprefix('fold_')}",
            )
    raise RunError(
        folder,
        found=f"neither {version2.PLANS} nor {version1.PLANS}" if folder.is_dir() else "no such folder",
        expected="the folder of a trained nnU-Net model",
        remedy="name the folder whose name looks like nnUNetTrainer__nnUNetPlans__3d_fullres",
    )


def _folds(folder: Path, version: int) -> list[str]:
    places = [path for path in folder.iterdir() if path.is_dir()]
    names = [path.name.removeprefix("fold_") for path in places if path.name.startswith("fold_") or path.name == "all"]
    if not names:
        raise RunError(
            folder, found="no fold", expected="folders fold_0, fold_1, ... or fold_all", remedy="copy the model again"
        )
    return sorted(names, key=natural_key)


def _write(model: TrainedModel, place: Path, split: Split, origin: Origin | None) -> None:
    network = model.network()
    _check_modalities(model, network["in_channels"])
    settings = _settings(model, network, place=place, split=split, origin=origin)
    note = {"nnunet": model.version, "trainer": model.trainer}
    write_foreign(place, settings, model.weights, source=model.checkpoint, note=note, split=split, epochs=model.epochs)


def _check_modalities(model: TrainedModel, channels: int) -> None:
    check_names(model.modalities, channels)
    clipped = [name for name in model.modalities if name.lower() in PERFUSION]
    if clipped:
        message = "strokelab clips outliers of perfusion maps and nnU-Net does not: masks may differ"
        warnings.warn(f"{', '.join(clipped)}: {message}", DataWarning, stacklevel=3)


def _settings(
    model: TrainedModel, network: Mapping[str, Any], *, place: Path, split: Split, origin: Origin | None
) -> Settings:
    """Those of ``model=nnunet`` with everything that the trained model says in their place."""
    family = "nnunet_residual" if network["residual"] else "nnunet"
    # A stranger's words are put in afterwards: in an override Hydra would read them.
    composed = plain(compose("train", [f"model={family}", "data=folder", "data.root=''", "data.modalities=[T1w]"]))
    windows = composed["view"]["windows"] | {"patch": list(model.patch), "mirror": model.mirror}
    if model.mean == "geometric":
        windows = {"_target_": "strokelab.inference.geometric_mean.GeometricMean", "windows": windows}
    settings = composed | {
        "name": f"nnunet_v{model.version}",  # folds bear one name, so that tables take them together
        "run_dir": str(place.resolve()),
        "checkpoint": "last",
        "trainer": composed["trainer"] | {"precision": "32-true", "max_epochs": max(model.epochs, 1)},
        "cohort": dict((origin or Origin({"dataset": f"nnU-Net {model.dataset}".strip(), "root": ""})).cohort),
    }
    settings["split"] = _written_down(model, place, known=split != Split((), (), ()))
    settings["data"] = composed["data"] | {"batch_size": model.batch_size, "modalities": list(model.modalities)}
    settings["model"] = composed["model"] | {"network": composed["model"]["network"] | dict(network)}
    settings["view"] = composed["view"] | {
        "preparation": composed["view"]["preparation"]
        | {
            "modalities": list(model.modalities),
            "box": "nonzero",
            "spacing": list(model.spacing),
            "interpolation": "cubic",
            "normalize": model.normalize,
            "orientation": model.orientation,
        },
        "windows": windows,
        "augment": None,
    }
    facts = {"patch": model.patch, "batch_size": model.batch_size, "spacing": model.spacing}
    return bind(settings, facts | {"normalize": model.normalize})


def _written_down(model: TrainedModel, place: Path, *, known: bool) -> dict[str, Any]:
    """The section ``split``: the run's own table, and which of nnU-Net's folds it was."""
    fold = model.checkpoint.parent.name.removeprefix("fold_")
    if not known or not fold.isdecimal():
        return {"_target_": "strokelab.data.splits.All", "part": "train"}
    return {"_target_": "strokelab.data.splits.FromFile", "path": str(place.resolve() / runs.SPLIT), "fold": int(fold)}


def _split(origin: Origin | None, fold: str, checkpoint: str) -> Split:
    """Who was trained on, chose the checkpoint, or did neither; unknown without ``splits_final.json``."""
    if origin is None or origin.splits is None:
        return Split((), (), ())
    path = origin.splits
    try:
        folds = json.loads(path.read_text(encoding="utf-8"))
        if fold == "all":
            names = sorted({str(name) for part in folds for name in (*part["train"], *part["val"])}, key=natural_key)
            return Split(tuple(names), (), ())
        part = folds[int(fold)]
        train, held = tuple(map(str, part["train"])), tuple(map(str, part["val"]))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            path,
            found=f"{type(error).__name__}: {error}",
            expected=f"nnU-Net's splits with train and val of fold {fold}",
            remedy="take splits_final.json from nnUNet_preprocessed",
        ) from error
    if checkpoint == "best":
        return Split(train, held, ())
    return Split(train, (), _of_others(held, train, origin.subjects))


def _of_others(held: Sequence[str], train: Sequence[str], subjects: Mapping[str, str]) -> tuple[str, ...]:
    """The held-out cases of subjects of whom nothing was trained on: nnU-Net deals cases, not subjects."""
    known = {subjects[name] for name in train if name in subjects}
    left = [name for name in held if subjects.get(name) in known]
    if left:
        warnings.warn(
            f"{left} left out of the test part: other scans of these subjects trained", DataWarning, stacklevel=4
        )
    return tuple(name for name in held if name not in left)
