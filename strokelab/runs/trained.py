"""A run folder becomes a model that predicts: rebuilt from its own config, within the allow-list. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from strokelab import __version__
from strokelab.configuration import Settings, build, check_buildable
from strokelab.configuration.building import target_of
from strokelab.configuration.size_limit import check_size, check_voxels
from strokelab.contract import PreparedCase
from strokelab.data.splits import Split
from strokelab.errors import ConfigError
from strokelab.inference.precision import AS_TRAINED, Precision, settle
from strokelab.inference.predict import scores_together
from strokelab.inference.scores import Scores
from strokelab.inference.windows import MEMORY_ONLY
from strokelab.networks.folding import for_prediction
from strokelab.preparation.intake import AS_TRAINED as OWN_MASK
from strokelab.preparation.intake import Intake
from strokelab.runs.alone import each_and_mean
from strokelab.runs.checkpoints import find_checkpoint, load_weights, own_choice, read_checkpoint, weights_digest
from strokelab.runs.folder import CONFIG, SITES, read_json, read_settings, read_split
from strokelab.runs.own import own_classes
from strokelab.runs.packed import the_run
from strokelab.runs.predictor import Forms, Predictor
from strokelab.runs.preparer import Preparer
from strokelab.runs.training_scans import depends, read_training_scans
from strokelab.runs.tuning import filled

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter
    from strokelab.view import View, Windows

Asked = Mapping[str, Any] | str | None
"""What is asked of windows in place of a run's own: settings of theirs, or the region of plans that have one."""


@dataclass
class Run(Predictor):
    """A trained run, ready to predict."""

    folder: Path
    settings: Settings
    model: Segmenter  # evaluation mode, weights loaded
    view: View
    postprocess: Callable[..., NDArray[np.uint8]]
    postprocess_node: Mapping[str, Any]  # that it was built from
    checkpoint: Path
    sites: Mapping[str, int]  # training site -> index
    provenance: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "32"  # that predictions compute in
    epoch: int | None = None  # from 1, whose weights these are; None: the checkpoint does not say
    intake: Intake = field(default_factory=Intake)  # how scans that are not those of its split are taken in

    @property
    def name(self) -> str:
        """How tables call the run."""
        return str(self.settings.get("name", self.folder.name))

    def __repr__(self) -> str:
        """Name, modalities, checkpoint; the settings are an attribute."""
        images = " + ".join(self.modalities) or "any contrast"
        return f"Run({self.name!r}, {images}, {str(self.checkpoint)!r}, on {self.model.device})"

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

    @cached_property
    def preparation_of(self) -> Preparer:
        """How a scan is prepared: as the training's were, or brought to them (``preparation.adaptation``)."""
        own, halves = self.view.preparation, self.model.hemispheres is not None
        read = partial(read_training_scans, self.folder, self.settings, own, needed=depends(own, halves))
        return Preparer(own, self.folder, halves, read, any_contrast=self.view.any_contrast, intake=self.intake)

    @property
    def preparers(self) -> tuple[Preparer, ...]:
        """The one way it prepares scans."""
        return (self.preparation_of,)

    @property
    def plans(self) -> tuple[tuple[Preparer, Windows], ...]:
        """The one way it cuts them."""
        return ((self.preparation_of, self.view.windows),)

    def scores(self, prepared: PreparedCase, *, classes: bool = False) -> Scores:
        """The scores of a case on the model's grid, before post-processing: of the lesion, or of all classes."""
        (scores,) = self.scores_beside((), prepared, classes=classes)
        return scores

    def scores_beside(self, others: Sequence[Run], prepared: PreparedCase, *, classes: bool = False) -> list[Scores]:
        """Its scores of a case, then those of other runs with its windows, which are given the same samples.

        Args:
            others: that ``shares`` says.
            prepared: the case.
            classes: as for ``scores``.
        """
        models = [run.model for run in (self, *others)]
        if getattr(self.view.windows, "many", False):
            models = [for_prediction(model) for model in models]
        return scores_together(
            prepared,
            predicts=[model.predict_scores for model in models],
            windows=self.view.windows,
            lesion_channel=self.model.lesion_channel,
            device=self.model.device,
            precision=self.precision,
            classes=classes,
        )

    def shares(self, other: Run) -> bool:
        """Whether another run can be given the samples that this one is: many of them, and cut in the same way."""
        how = [(run.view.windows, run.model.lesion_channel, run.model.device, run.precision) for run in (self, other)]
        return getattr(self.view.windows, "many", False) and how[0] == how[1]

    def average(self, forms: Forms, *, disagreement: bool = False, classes: bool = False) -> Scores:
        """Its scores, of several images alone their mean; a single map disagrees with nothing."""
        own = self.preparation_of.part(forms)
        if len(own) > 1:
            *_, (_, mean) = each_and_mean(own, partial(self.scores, classes=classes), disagreement=disagreement)
            return mean
        (form,) = own.values()
        scores = self.scores(form, classes=classes)
        return replace(scores, disagreement=np.zeros_like(scores.lesion)) if disagreement else scores


def load_run(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    device: str = "cpu",
    allow: Sequence[str] = (),
    postprocess: Mapping[str, Any] | None = None,
    precision: str = AS_TRAINED,
    windows: Asked = None,
    register: str = "auto",
    brain_mask: str = OWN_MASK,
) -> Run:
    """Rebuild a trained run from its folder alone, wherever it was moved to.

    Args:
        path: the run folder, or a packed model of one run.
        checkpoint: ``"last"``, ``"best"``, or a file; default: what the run was configured to use.
        device: where the model goes, e.g. ``"cpu"``, ``"cuda"``.
        allow: dotted prefixes of the caller's own classes that the run's config may build.
        postprocess: a post-processing node in place of the run's own. Where it leaves threshold and smallest component
            to a search, the run folder says what that found.
        precision: ``as_trained``, ``32``, ``bf16`` or ``16``; see ``inference.precision``.
        windows: settings in place of the run's own in ``view.windows``, e.g. ``{"mirror": "none"}`` for a quick look. A
            word names their region: ``"full"``.
        register: ``"auto"``: scans outside MNI space are registered for a run that was trained in it; ``"always"``;
            ``"never"``.
        brain_mask: how brains are found where a scan has no mask: ``"as_trained"``, ``"auto"``, ``"nonzero"``,
            ``"estimated"``, ``"synthstrip"`` or ``"hd-bet"``.

    Raises:
        RunError: the folder is no run, or its checkpoint is missing, damaged or of another model; as ``open_packed``.
        ConfigError: its config wants to build something outside the allow-list, or a region for windows without one.
    """
    folder, taken = the_run(path).resolve(), Intake(register, brain_mask)  # type: ignore[arg-type]  # checked there
    settings = read_settings(folder)
    where = folder / CONFIG
    view_node = {**settings["view"], "augment": None}  # training only, and may hold transforms of other libraries
    own_windows = view_node.get("windows") or {}
    asked = {"region": windows} if isinstance(windows, str) else windows or {}
    if asked:
        view_node["windows"] = _changed(own_windows, asked)
    nodes = {
        "view": view_node,
        "model": settings["model"],
        "postprocess": dict(postprocess or settings["postprocess"]),
    }
    own = own_classes(folder)
    check_buildable(nodes, allow=(*allow, *own), where=where)  # everything, before anything is built
    if isinstance(windows, str):
        _check_region(windows, own_windows)
    nodes["postprocess"] = filled(nodes["postprocess"], folder)
    file = find_checkpoint(folder, checkpoint or own_choice(settings, where))
    content = read_checkpoint(file)
    state, epoch = content["state_dict"], content.get("epoch")
    if not own:
        check_size(nodes["model"], file, where)
        check_voxels(nodes["view"], where)
    view, model, post = (_built(name, nodes[name], where) for name in ("view", "model", "postprocess"))
    load_weights(model, state, file)
    _onto(model.eval(), device)
    sites = read_json(folder / SITES)
    trained = str((settings.get("trainer") or {}).get("precision"))
    computed = settle(precision, trained=trained, device=device)
    named = {name: getattr(view.windows, name) for name in getattr(view.windows, "named", ())}
    provenance = {
        "run": folder.name,
        "model": str(settings.get("name", "")),
        "checkpoint": file.name,
        "inference": _inference(computed, own_windows, asked, named | taken.named),
        "postprocess": json.dumps(nodes["postprocess"]),
        "strokelab": __version__,
    }
    number = epoch + 1 if isinstance(epoch, int) else None
    made = (view, post, nodes["postprocess"], file, sites, provenance, computed, number, taken)
    return Run(folder, settings, model, *made)


def _check_region(asked: str, own: Mapping[str, Any]) -> None:
    inner = own.get("windows", own)
    if not hasattr(target_of(inner), "region"):
        raise ConfigError(
            f"windows={asked}",
            found=f"{str(inner.get('_target_')).rpartition('.')[2]}, windows without a region",
            expected="settings of these windows, as key=value",
            remedy="leave it out for this run",
        )


def _changed(own: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The node of the windows with other settings; of the plan inside, where there is one around another."""
    if "windows" in own:
        return {**own, "windows": _changed(own["windows"], asked)}
    return {**own, **asked}


def _inference(precision: str, own: Mapping[str, Any], asked: Mapping[str, Any], named: Mapping[str, Any]) -> str:
    """Precision, what of the windows is not the run's own but changes numbers, and what they always name.

    For example ``bf16, mirror=none`` or ``32, step=[8, 8, 4]``.
    """
    own = own.get("windows", own)
    other = {key: value for key, value in asked.items() if key not in MEMORY_ONLY and own.get(key) != value}
    other |= {key: list(value) if isinstance(value, tuple) else value for key, value in named.items()}
    return ", ".join([precision, *(f"{key}={value}" for key, value in sorted(other.items()))])


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
