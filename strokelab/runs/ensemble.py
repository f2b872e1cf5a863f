"""Several members as one: their scores averaged case by case, weights loaded as memory allows. Writes nothing.

A member is a checkpoint of a run, applied to one set of images (``runs.members``). The mean is taken over lesion
probabilities before post-processing (Huo 2022), or over logits where the members' windows give these.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab import __version__
from strokelab.configuration import Settings, build
from strokelab.errors import ConfigError, RunError
from strokelab.inference.ensemble import means_of
from strokelab.inference.postprocess import search_of
from strokelab.inference.precision import AS_TRAINED
from strokelab.inference.predict import Where
from strokelab.inference.scores import Scores
from strokelab.preparation.intake import AS_TRAINED as OWN_MASK
from strokelab.runs.alone import each_and_mean, on_case
from strokelab.runs.members import Loading, Member, Pool, members_of, sharing
from strokelab.runs.packed import run_folders
from strokelab.runs.predictor import Forms, Predictor
from strokelab.runs.preparer import Preparer
from strokelab.runs.trained import Asked, Run, load_run
from strokelab.runs.tuning import filled_of_all

if TYPE_CHECKING:
    from strokelab.view import View, Windows

Weights = Literal["per_map", "per_scheme"]
WEIGHTS: tuple[Weights, ...] = ("per_map", "per_scheme")


@dataclass(frozen=True)
class Ensemble(Predictor):
    """The mean of several members, ready to predict; what takes a ``Run`` takes this as well."""

    name: str
    members: tuple[Member, ...]  # by scheme, folder, checkpoint: the order they were named in changes no bit
    view: View  # of one of them
    postprocess: Callable[..., NDArray[np.uint8]]
    pool: Pool = field(repr=False)
    weights: Weights = "per_map"
    postprocess_node: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Name, number of members, modalities; the members are an attribute."""
        images = " + ".join(self.modalities) or "any contrast"
        return f"Ensemble({self.name!r}, {len(self.members)} members, {images}, {self.weights})"

    @property
    def preparers(self) -> tuple[Preparer, ...]:
        """How a scan is prepared; one for all members that see it alike."""
        return tuple(dict.fromkeys(member.preparer for member in self.members))

    @property
    def plans(self) -> tuple[tuple[Preparer, Windows], ...]:
        """How a volume is cut, for each way of preparing it."""
        found: list[tuple[Preparer, Windows]] = []  # plans need not be hashable
        for member in self.members:
            if (member.preparer, member.plan) not in found:
                found.append((member.preparer, member.plan))
        return tuple(found)

    @property
    def finish(self) -> Where:
        """On which grid scores become a mask: the case's own where a member's family does it there."""
        return "native" if any(member.finish == "native" for member in self.members) else "prepared"

    @property
    def settings(self) -> Settings:
        """Seed and fold, as far as the members have them in common."""
        seeds = {member.settings.get("seed") for member in self.members}
        folds = {(member.settings.get("split") or {}).get("fold") for member in self.members}
        return {
            "name": self.name,
            "seed": seeds.pop() if len(seeds) == 1 else None,
            "split": {"fold": folds.pop() if len(folds) == 1 else None},
        }

    @property
    def digest(self) -> str:
        """SHA-256 that tells this ensemble from others: its members' weights, and how they are applied and weighted."""
        lines = sorted(f"{member.scheme} {member.digest} {member.applied}".rstrip() for member in self.members)
        return hashlib.sha256("\n".join([self.weights, *lines]).encode()).hexdigest()

    @property
    def provenance(self) -> dict[str, str]:
        """What made a prediction, in words."""
        applied = {member.applied: None for member in self.members if member.applied}
        return {
            "run": ", ".join(member.folder.name for member in self.members),
            "model": self.name,
            "checkpoint": ", ".join(dict.fromkeys(member.checkpoint.name for member in self.members)),
            "members": str(len(self.members)),
            "weights": self.weights,
            "inference": " | ".join(dict.fromkeys(member.inference for member in self.members)),
            "postprocess": json.dumps(dict(self.postprocess_node)),
            "strokelab": __version__,
        } | ({"applied": " | ".join(applied)} if applied else {})

    @property
    def shares(self) -> dict[Member, float]:
        """How much each member counts."""
        schemes = Counter(member.scheme for member in self.members)
        equal = self.weights == "per_map"
        return {member: 1.0 if equal else 1 / schemes[member.scheme] for member in self.members}

    def part(self, folders: Sequence[Path]) -> Ensemble:
        """The ensemble of some of the runs, sharing what is loaded."""
        return replace(self, members=tuple(member for member in self.members if member.folder in set(folders)))

    def average(self, forms: Forms, *, disagreement: bool = False, classes: bool = False) -> Scores:
        """The mean of all members' scores; see ``Predictor.average``."""
        ((_, scores),) = self.means(forms, {"": self.shares}, disagreement=disagreement, classes=classes)
        return scores

    def means(
        self,
        forms: Forms,
        groups: Mapping[str, Mapping[Member, float]],
        *,
        disagreement: bool = False,
        classes: bool = False,
    ) -> Iterator[tuple[str, Scores]]:
        """The mean of each group of members, as ``inference.ensemble.means_of``; one member after the other predicts.

        Scores are averaged on the prepared grid where all members have one for this case, else on the case's own;
        as logits where all give logits of one lesion channel, else as probabilities of the lesion.

        Args:
            forms: the case.
            groups: name -> members, and how much each counts.
            disagreement: as for ``average``.
            classes: as for ``average``.

        Raises:
            RunError: members have different classes, and all are asked for.
        """
        return means_of(self._scores(forms, classes), groups, disagreement=disagreement)

    def _scores(self, forms: Forms, classes: bool) -> Iterator[tuple[Member, Scores]]:
        on_one_grid = len({form.steps for one in self.preparers for form in one.part(forms).values()}) == 1
        alike = len({(member.kind, member.lesion_channel) for member in self.members}) == 1
        wanted: tuple[int, int] | None = None
        for member, scores in self._scores_of_members(forms, classes):
            if not alike:
                scores = scores.finished(classes=classes)
            if scores.values.ndim == 4:
                channels = len(scores.values), member.lesion_channel
                wanted = wanted or channels
                if wanted != channels:
                    raise _other_classes(member, channels, self.members[0], wanted)
            if not (on_one_grid or scores.native):
                ((preparer, form),) = member.preparer.part(forms).items()
                scores = scores.restored(form.steps) if preparer.base is None else on_case(form, scores)
            yield member, scores

    def _scores_of_members(self, forms: Forms, classes: bool) -> Iterator[tuple[Member, Scores]]:
        """Each member's scores as it gives them; neighbours that stay loaded and cut the same samples share these."""
        left = list(self.members)
        while left:
            first, run = left[0], self.pool.run(left[0].loading)
            others: list[Run] = []
            for member in left[1:]:
                other = self.pool.kept(member.loading)
                if other is None or member.preparer != first.preparer or not run.shares(other):
                    break
                others.append(other)
            together, left = left[: len(others) + 1], left[len(others) + 1 :]
            own = first.preparer.part(forms)
            if len(own) > 1:
                for member, one in zip(together, (run, *others), strict=True):
                    *_, (_, mean) = each_and_mean(own, partial(one.scores, classes=classes))
                    yield member, mean
                continue
            (form,) = own.values()
            if others:
                yield from zip(together, run.scores_beside(others, form, classes=classes), strict=True)
            else:
                yield first, run.scores(form, classes=classes)


def load_ensemble(
    folders: Sequence[str | Path],
    *,
    name: str | None = None,
    schemes: Mapping[Path, str] | None = None,
    checkpoint: str | Sequence[str] | None = None,
    modalities: Sequence[str] = (),
    device: str = "cpu",
    allow: Sequence[str] = (),
    postprocess: Mapping[str, Any] | None = None,
    weights: Weights = "per_map",
    memory_gb: float = 4.0,
    precision: str = AS_TRAINED,
    windows: Asked | Sequence[Asked] = None,
    register: str = "auto",
    brain_mask: str = OWN_MASK,
) -> Ensemble:
    """Several members as one that predicts their mean. Each is loaded once to see that it can be.

    Args:
        folders: run folders and packed models, in any order.
        name: how tables call the ensemble; default: its schemes.
        schemes: of which scheme each folder is; default: how the run calls its model.
        checkpoint: ``"last"`` or ``"best"``; default: what each run was configured to use. Several: each of every run
            is a member; ``"snapshots"``: all of each run.
        modalities: images that the only channel of each run is fed with: every run with each of them is a member.
            Default: each run's own modalities.
        device: where the models go, e.g. ``"cpu"``, ``"cuda"``.
        allow: dotted prefixes of the caller's own classes that the runs' configs may build.
        postprocess: a post-processing node; default: the one that all members were configured with.
        weights: ``"per_map"`` counts every member once, ``"per_scheme"`` every scheme (runs of one name) once.
        memory_gb: of weights that stay loaded between cases.
        precision: as for ``load_run``, of every member.
        windows: as for ``load_run``, of every member. Several: every run with each of them is a member.
        register: as for ``load_run``, and so is ``brain_mask``.
        brain_mask: as for ``load_run``.

    Raises:
        RunError: a folder is no run or has no snapshots, or a member is named twice or is a copy of another.
        ConfigError: a config wants to build something outside the allow-list, post-processings differ, or modalities
            for a run of several channels.
    """
    if weights not in WEIGHTS:
        raise ConfigError(
            "ensemble.weights",
            found=repr(weights),
            expected=f"one of {', '.join(WEIGHTS)}",
            remedy="choose per_map to count every run once",
        )
    if not folders:
        raise RunError("ensemble", found="no run", expected="run folders", remedy="name at least one")
    none = (None,)
    plans = [windows] if isinstance(windows, (Mapping, str)) else [*(windows or none)]

    def load(loading: Loading) -> Run:
        return load_run(
            loading.folder,
            checkpoint=loading.checkpoint,
            device=device,
            allow=allow,
            postprocess=postprocess,
            precision=precision,
            windows=plans[loading.windows],
            register=register,
            brain_mask=brain_mask,
        )

    pool = Pool(load, memory_gb)
    found: list[Member] = []
    first: Run | None = None
    for member, run in members_of(
        sorted(folder.expanduser().resolve() for folder in run_folders(folders)),
        pool,
        schemes=schemes or {},
        checkpoints=[checkpoint] if isinstance(checkpoint, str) else [*(checkpoint or none)],
        windows=plans,
        modalities=[modalities] if isinstance(modalities, str) else modalities,
    ):
        first = first or run
        found.append(member)
    assert first is not None  # there is a folder
    node, finish = _postprocess_of(found, postprocess), first.postprocess
    if search_of(node):  # each run has a pair of its own, the mean has one of all
        node = filled_of_all(node, [member.folder for member in found])
        finish = build(node)
    words = " + ".join(dict.fromkeys(member.scheme for member in found))
    name = name or (words if len(found) == 1 else f"mean of {len(found)} {words}")
    return Ensemble(name, sharing(found, name), first.view, finish, pool, weights, node)


def _other_classes(member: Member, channels: tuple[int, int], first: Member, wanted: tuple[int, int]) -> RunError:
    found, expected = (f"{count} classes, the lesion in channel {lesion}" for count, lesion in (channels, wanted))
    return RunError(
        member.folder,
        found=found,
        expected=f"{expected}, as in {first.folder}: all classes are averaged",
        remedy="average only runs of the same classes, or the lesion alone",
    )


def _postprocess_of(members: Sequence[Member], given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if given is not None:
        return given
    first = members[0].settings["postprocess"]
    for member in members:
        if member.settings["postprocess"] != first:
            raise ConfigError(
                member.folder,
                found=f"postprocess: {json.dumps(member.settings['postprocess'])}",
                expected=f"{json.dumps(first)}, as in {members[0].folder}",
                remedy="say which one the ensemble takes, e.g. postprocess=threshold",
            )
    return dict(first)
