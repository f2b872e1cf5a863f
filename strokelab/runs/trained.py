"""A run folder becomes a model that predicts: rebuilt from its own config, within the allow-list. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from strokelab import __version__
from strokelab.configuration import Settings, build, check_buildable
from strokelab.configuration.size import check_size
from strokelab.contract import Case, Prediction, PreparedCase
from strokelab.data.splits import Split
from strokelab.errors import ConfigError, RunError
from strokelab.inference.precision import AS_TRAINED, Precision, settle
from strokelab.inference.predict import lesion_probability, to_native
from strokelab.inference.windows import MEMORY_ONLY
from strokelab.preparation.adaptation import done_to
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.trained_on import TrainedOn
from strokelab.runs.checkpoints import find_checkpoint, load_weights, read_checkpoint, weights_digest
from strokelab.runs.folder import CONFIG, SITES, read_json, read_settings, read_split
from strokelab.runs.given import Given, given_case
from strokelab.runs.own import own_classes
from strokelab.runs.training_scans import depends, preparation_of, read_training_scans

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter
    from strokelab.view import View


@dataclass
class Run:
    """A trained run, ready to predict."""

    folder: Path
    settings: Settings
    model: Segmenter  # evaluation mode, weights loaded
    view: View
    postprocess: Callable[..., NDArray[np.uint8]]
    checkpoint: Path
    sites: Mapping[str, int]  # training site -> index
    provenance: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "32"  # that predictions compute in

    @property
    def name(self) -> str:
        """How tables call the run."""
        return str(self.settings.get("name", self.folder.name))

    def __repr__(self) -> str:
        """Name, modalities, checkpoint; the settings are an attribute."""
        return f"Run({self.name!r}, {' + '.join(self.modalities)}, {str(self.checkpoint)!r}, on {self.model.device})"

    @property
    def modalities(self) -> tuple[str, ...]:
        """The images a case must have, in channel order."""
        return tuple(self.view.preparation.modalities)

    @property
    def split(self) -> Split:
        """Who was in the training, validation and test part.

        Raises:
            RunError: the split is missing from the folder.
        """
        return read_split(self.folder)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights; equal for equal numbers, whatever file they came from."""
        return weights_digest(self.model)

    def predict(self, item: Given, *, as_modality: str | None = None) -> Prediction:
        """Lesion mask and probability of one case on the grid of its input.

        Args:
            item: a ``Case``; the file(s) or folder of one scan session, one file per modality of the run; an image of
                nibabel; or a mapping from modality to file or image. Neither labels nor a site are needed.
            as_modality: take the file for this modality, the run's, although its name says another contrast.

        Raises:
            DataError: the files are not readable, masks, of another contrast, or no scan like those of the training.
            RunError: they are not exactly one case with the run's modalities.
        """
        with given_case(item, self.modalities, as_modality) as case:
            prepared = prepare(case, self.preparation_of(case))
        return self.predict_prepared(prepared)

    @cached_property
    def trained_on(self) -> TrainedOn | None:
        """The scans of the training, where scans must be like them; None where that does not matter or is unknown.

        Raises:
            RunError: the folder's record of them is damaged.
        """
        preparation = self.view.preparation
        if not depends(preparation, halves=self.model.hemispheres is not None):
            return None
        return read_training_scans(self.folder, self.settings, preparation)

    def preparation_of(self, case: Case, store: Path | None = None) -> Preparation:
        """How a scan is prepared: as the training's were, or brought to them (``preparation.adaptation``).

        Args:
            case: the scan.
            store: folder of a prepared store, which remembers where brains lie.

        Raises:
            RunError: the scan has other contrasts than the training's.
            DataError: it is no scan like those of the training.
        """
        halves = self.model.hemispheres is not None
        own = self.view.preparation
        return preparation_of(case, own, self.trained_on, where=self.folder, halves=halves, store=store)

    def predict_prepared(self, prepared: PreparedCase) -> Prediction:
        """As ``predict``, from a case that already lies on the model's grid."""
        probability = self.probability(prepared)
        done = done_to(prepared.steps, self.view.preparation, lambda: self.trained_on)
        provenance = {**self.provenance, "preparation": done}
        return to_native(prepared, probability, postprocess=self.postprocess, provenance=provenance)

    def probability(self, prepared: PreparedCase) -> NDArray[np.float32]:
        """The lesion probability (X, Y, Z) of a case on the model's grid, before post-processing."""
        return lesion_probability(
            prepared,
            predict=self.model.predict_scores,
            windows=self.view.windows,
            lesion_channel=self.model.lesion_channel,
            device=self.model.device,
            precision=self.precision,
        )


def load_run(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    device: str = "cpu",
    allow: Sequence[str] = (),
    postprocess: Mapping[str, Any] | None = None,
    precision: str = AS_TRAINED,
    windows: Mapping[str, Any] | None = None,
) -> Run:
    """Rebuild a trained run from its folder alone, wherever it was moved to.

    Args:
        path: the run folder.
        checkpoint: ``"last"``, ``"best"``, or a file; default: what the run was configured to use.
        device: where the model goes, e.g. ``"cpu"``, ``"cuda"``.
        allow: dotted prefixes of the caller's own classes that the run's config may build.
        postprocess: a post-processing node in place of the run's own.
        precision: ``as_trained``, ``32``, ``bf16`` or ``16``; see ``inference.precision``.
        windows: settings in place of the run's own in ``view.windows``, e.g. ``{"mirror": "none"}`` for a quick look.

    Raises:
        RunError: the folder is no run, or its checkpoint is missing, damaged or of another model.
        ConfigError: its config wants to build something outside the allow-list.
    """
    folder = Path(path).resolve()
    settings = read_settings(folder)
    where = folder / CONFIG
    view_node = {**settings["view"], "augment": None}  # training only, and may hold transforms of other libraries
    own_windows = view_node.get("windows") or {}
    if windows:
        view_node["windows"] = _changed(own_windows, windows)
    nodes = {
        "view": view_node,
        "model": settings["model"],
        "postprocess": dict(postprocess or settings["postprocess"]),
    }
    own = own_classes(folder)
    check_buildable(nodes, allow=(*allow, *own), where=where)  # everything, before anything is built
    file = find_checkpoint(folder, checkpoint or _own_choice(settings, where))
    state = read_checkpoint(file)["state_dict"]
    if not own:
        check_size(nodes["model"], file, where)
    view, model, post = (_built(name, nodes[name], where) for name in ("view", "model", "postprocess"))
    load_weights(model, state, file)
    _onto(model.eval(), device)
    sites = read_json(folder / SITES)
    trained = str((settings.get("trainer") or {}).get("precision"))
    computed = settle(precision, trained=trained, device=device)
    provenance = {
        "run": folder.name,
        "model": str(settings.get("name", "")),
        "checkpoint": file.name,
        "inference": _inference(computed, own_windows, windows or {}),
        "postprocess": json.dumps(nodes["postprocess"]),
        "strokelab": __version__,
    }
    return Run(folder, settings, model, view, post, file, sites, provenance, computed)


def _changed(own: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The node of the windows with other settings; of the plan inside, where there is one around another."""
    if "windows" in own:
        return {**own, "windows": _changed(own["windows"], asked)}
    return {**own, **asked}


def _inference(precision: str, own: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Precision, and what of the windows is not the run's own but changes numbers, e.g. ``bf16, mirror=none``."""
    own = own.get("windows", own)
    other = {key: value for key, value in asked.items() if key not in MEMORY_ONLY and own.get(key) != value}
    return ", ".join([precision, *(f"{key}={value}" for key, value in sorted(other.items()))])


def _own_choice(settings: Settings, where: Path) -> str:
    """The checkpoint a run was configured to use; a run has no say in what is opened elsewhere."""
    name = settings.get("checkpoint", "last")
    if not isinstance(name, str) or Path(name).name != name:
        raise RunError(
            where, found=f"checkpoint: {name!r}", expected="a name such as last or best", remedy="give checkpoint=last"
        )
    return name


# What the parts of a run must offer; an allowed name of another kind would fail much later.
_OFFERS = {"view": ("preparation", "windows"), "model": ("predict_scores", "state_dict"), "postprocess": ("__call__",)}


def _built(name: str, node: Mapping[str, Any], where: Path) -> Any:
    part = build(node)
    if not all(hasattr(part, offer) for offer in _OFFERS[name]):
        raise ConfigError(
            where,
            found=f"{name}: a {type(part).__name__} from {node.get('_target_', 'no _target_')}",
            expected=f"a {name}, with {', '.join(_OFFERS[name])}",
            remedy="copy the run again; its config.yaml was changed",
        )
    return part


def _onto(model: Segmenter, device: str) -> None:
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        raise ConfigError(
            f"device={device}",
            found=str(error).splitlines()[0],
            expected="a device of this machine, e.g. cpu or cuda:0",
            remedy="choose device=cpu, or run where there is a GPU",
        ) from error
