"""Several runs as one: their maps averaged case by case, weights loaded as memory allows. Writes nothing.

The mean is taken over lesion probabilities on the prepared grid, before post-processing (Huo 2022), so members must
prepare a case alike; their networks, patches and windows may differ.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab import __version__
from strokelab.configuration import Settings
from strokelab.contract import Case, Prediction, PreparedCase
from strokelab.errors import ConfigError, RunError
from strokelab.inference.ensemble import RunningMean
from strokelab.inference.precision import AS_TRAINED
from strokelab.inference.predict import to_native
from strokelab.preparation.adaptation import done_to
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.trained_on import TrainedOn
from strokelab.runs.given import Given, given_case
from strokelab.runs.trained import Run, load_run
from strokelab.runs.training_scans import preparation_of, united

if TYPE_CHECKING:
    from strokelab.view import View

Weights = Literal["per_map", "per_scheme"]
WEIGHTS: tuple[Weights, ...] = ("per_map", "per_scheme")


@dataclass(frozen=True)
class Member:
    """One run of an ensemble: everything but its weights."""

    folder: Path
    scheme: str  # how the run calls its model; the runs of a scheme are its folds and seeds
    settings: Settings
    checkpoint: Path
    digest: str  # of its weights
    inference: str  # precision and windows of its predictions, as ``load_run`` puts it


class Pool:
    """Runs by folder. As many stay loaded as fit a budget, and at least one; the others are loaded for each case.

    Args:
        load: folder -> run.
        memory_gb: for weights that stay; besides them, one more run may be in memory at a time.
    """

    def __init__(self, load: Callable[[Path], Run], memory_gb: float) -> None:
        self._load = load
        self._free = memory_gb * 1e9
        self._kept: dict[Path, Run] = {}
        self._seen: dict[Path, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Runs that stay loaded."""
        return len(self._kept)

    def run(self, folder: Path) -> Run:
        """A run with its weights.

        Raises:
            RunError: its checkpoint is another than when it was loaded first.
        """
        if folder in self._kept:
            return self._kept[folder]
        run = self._load(folder)
        state = run.checkpoint.stat()
        if self._seen.setdefault(folder, (state.st_mtime_ns, state.st_size)) != (state.st_mtime_ns, state.st_size):
            raise RunError(
                run.checkpoint,
                found="another checkpoint than when this began",
                expected="a run that is not training any more",
                remedy="wait until it has finished, then begin again",
            )
        size = sum(tensor.numel() * tensor.element_size() for tensor in run.model.state_dict().values())
        if size <= self._free or not self._kept:
            self._free -= size
            self._kept[folder] = run
        return run


@dataclass(frozen=True)
class Ensemble:
    """The mean of several runs, ready to predict; what takes a ``Run`` takes this as well."""

    name: str
    members: tuple[Member, ...]  # by scheme and folder: the order they were named in changes no bit
    view: View
    postprocess: Callable[..., NDArray[np.uint8]]
    pool: Pool = field(repr=False)
    weights: Weights = "per_map"
    postprocess_node: Mapping[str, Any] = field(default_factory=dict)
    trained_on: TrainedOn | None = None  # of all members together
    halves: bool = False  # a member parts the volume at its middle

    def preparation_of(self, case: Case, store: Path | None = None) -> Preparation:
        """How a scan is prepared for all members; as ``Run.preparation_of``."""
        own = self.view.preparation
        return preparation_of(case, own, self.trained_on, where=self.name, halves=self.halves, store=store)

    def __repr__(self) -> str:
        """Name, number of members, modalities; the members are an attribute."""
        return f"Ensemble({self.name!r}, {len(self.members)} members, {' + '.join(self.modalities)}, {self.weights})"

    @property
    def modalities(self) -> tuple[str, ...]:
        """The images a case must have, in channel order."""
        return tuple(self.view.preparation.modalities)

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
        """SHA-256 that tells this ensemble from others: its members' weights, and how they are weighted."""
        words = [self.weights, *sorted(f"{member.scheme} {member.digest}" for member in self.members)]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()

    @property
    def provenance(self) -> dict[str, str]:
        """What made a prediction, in words."""
        return {
            "run": ", ".join(member.folder.name for member in self.members),
            "model": self.name,
            "checkpoint": ", ".join(dict.fromkeys(member.checkpoint.name for member in self.members)),
            "members": str(len(self.members)),
            "weights": self.weights,
            "inference": " | ".join(dict.fromkeys(member.inference for member in self.members)),
            "postprocess": json.dumps(dict(self.postprocess_node)),
            "strokelab": __version__,
        }

    def part(self, folders: Sequence[Path]) -> Ensemble:
        """The ensemble of some of the members, sharing what is loaded."""
        return replace(self, members=tuple(member for member in self.members if member.folder in set(folders)))

    def maps(self, prepared: PreparedCase) -> Iterator[tuple[Member, NDArray[np.float32], float]]:
        """Each member, its probability (X, Y, Z) on the prepared grid, and how much it counts; scheme by scheme."""
        schemes = Counter(member.scheme for member in self.members)
        for member in self.members:
            weight = 1 / schemes[member.scheme] if self.weights == "per_scheme" else 1.0
            yield member, self.pool.run(member.folder).probability(prepared), weight

    def average(self, prepared: PreparedCase, *, disagreement: bool = False) -> RunningMean:
        """The members' mean lesion probability on the prepared grid, one member after the other.

        Args:
            prepared: the case.
            disagreement: also keep what their standard deviation needs.
        """
        mean = RunningMean(disagreement)
        for _, probability, weight in self.maps(prepared):
            mean.add(probability, weight)
        return mean

    def finished(self, prepared: PreparedCase, mean: RunningMean) -> Prediction:
        """The prediction that a mean of maps makes: post-processed, on the native grid."""
        return to_native(
            prepared,
            mean.mean(),
            postprocess=self.postprocess,
            provenance={
                **self.provenance,
                "preparation": done_to(prepared.steps, self.view.preparation, lambda: self.trained_on),
            },
            disagreement=mean.deviation() if mean.disagreement else None,
        )

    def predict(self, item: Given, *, disagreement: bool = False, as_modality: str | None = None) -> Prediction:
        """Lesion mask and mean probability of one case on the grid of its input; arguments as ``Run.predict``."""
        with given_case(item, self.modalities, as_modality) as case:
            prepared = prepare(case, self.preparation_of(case))
        return self.predict_prepared(prepared, disagreement=disagreement)

    def predict_prepared(self, prepared: PreparedCase, disagreement: bool = False) -> Prediction:
        """As ``predict``, from a case that already lies on the model's grid.

        Args:
            prepared: the case.
            disagreement: also give the members' standard deviation.
        """
        return self.finished(prepared, self.average(prepared, disagreement=disagreement))


def load_ensemble(
    folders: Sequence[str | Path],
    *,
    name: str | None = None,
    schemes: Mapping[Path, str] | None = None,
    checkpoint: str | None = None,
    device: str = "cpu",
    allow: Sequence[str] = (),
    postprocess: Mapping[str, Any] | None = None,
    weights: Weights = "per_map",
    memory_gb: float = 4.0,
    precision: str = AS_TRAINED,
    windows: Mapping[str, Any] | None = None,
) -> Ensemble:
    """Several trained runs as one that predicts their mean. Each is loaded once to see that it can be.

    Args:
        folders: run folders, in any order.
        name: how tables call the ensemble; default: its schemes.
        schemes: of which scheme each folder is; default: how the run calls its model.
        checkpoint: ``"last"`` or ``"best"``; default: what each run was configured to use.
        device: where the models go, e.g. ``"cpu"``, ``"cuda"``.
        allow: dotted prefixes of the caller's own classes that the runs' configs may build.
        postprocess: a post-processing node; default: the one that all members were configured with.
        weights: ``"per_map"`` counts every run once, ``"per_scheme"`` every scheme (runs of one name) once.
        memory_gb: of weights that stay loaded between cases.
        precision: as for ``load_run``, of every member.
        windows: as for ``load_run``, of every member.

    Raises:
        RunError: a folder is no run or is named twice, or runs prepare a case in different ways.
        ConfigError: a config wants to build something outside the allow-list, or post-processings differ.
    """
    paths = sorted(Path(folder).expanduser().resolve() for folder in folders)
    _check(paths, weights)
    load = partial(
        load_run,
        checkpoint=checkpoint,
        device=device,
        allow=allow,
        postprocess=postprocess,
        precision=precision,
        windows=windows,
    )
    pool = Pool(load, memory_gb)
    members: list[Member] = []
    records: list[TrainedOn | None] = []
    halves = False
    first: Run | None = None
    for path in paths:
        run = pool.run(path)
        first = first or run
        member = Member(
            run.folder,
            (schemes or {}).get(path, run.name),
            run.settings,
            run.checkpoint,
            run.digest,
            run.provenance["inference"],
        )
        _check_alike(run, first)
        _check_new(member, members)
        members.append(member)
        records.append(run.trained_on)
        halves = halves or run.model.hemispheres is not None
    assert first is not None  # there is a folder
    node = _postprocess_of(members, postprocess)
    words = " + ".join(dict.fromkeys(member.scheme for member in members))
    return Ensemble(
        name=name or (words if len(members) == 1 else f"mean of {len(members)} {words}"),
        members=tuple(sorted(members, key=lambda member: (member.scheme, member.folder))),
        view=first.view,
        postprocess=first.postprocess,
        pool=pool,
        weights=weights,
        postprocess_node=node,
        trained_on=united(records, paths, first.view.preparation),
        halves=halves,
    )


def _check(paths: Sequence[Path], weights: str) -> None:
    if weights not in WEIGHTS:
        raise ConfigError(
            "ensemble.weights",
            found=repr(weights),
            expected=f"one of {', '.join(WEIGHTS)}",
            remedy="choose per_map to count every run once",
        )
    if not paths:
        raise RunError("ensemble", found="no run", expected="run folders", remedy="name at least one")
    for path, count in Counter(paths).items():
        if count > 1:
            raise RunError(path, found="the same run twice", expected="each member once", remedy="leave one out")


def _check_alike(run: Run, first: Run) -> None:
    """Refuse runs whose maps cannot be averaged voxel by voxel, or that look at other images."""
    own, other = run.view.preparation, first.view.preparation
    for name in (entry.name for entry in fields(own)):
        if getattr(own, name) != getattr(other, name):
            raise RunError(
                run.folder,
                found=f"view.preparation.{name}: {getattr(own, name)}",
                expected=f"{getattr(other, name)}, as in {first.folder}: members of one ensemble prepare a case alike",
                remedy="ensemble only runs of one preparation, or train again with this setting",
            )


def _check_new(member: Member, members: Sequence[Member]) -> None:
    for other in members:
        if other.digest == member.digest:
            raise RunError(
                member.folder,
                found=f"the weights of {other.folder}, to the last bit",
                expected="members that were trained apart",
                remedy="leave the copy out",
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
