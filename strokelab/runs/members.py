"""Who is averaged: one checkpoint of one run, applied to one set of images in one way. Loads runs; averages nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strokelab.configuration import Settings
from strokelab.errors import ConfigError, RunError
from strokelab.inference.predict import Where
from strokelab.inference.scores import Kind
from strokelab.preparation.recipe import Preparation
from strokelab.runs.checkpoints import each_named
from strokelab.runs.preparer import Preparer, shared
from strokelab.runs.trained import Asked, Run

if TYPE_CHECKING:
    from strokelab.view import Windows


class Loading(NamedTuple):
    """What is loaded to predict with."""

    folder: Path
    checkpoint: str | None  # None: the run's own choice
    windows: int  # which of the settings that replace the run's own


@dataclass(frozen=True, eq=False)
class Member:
    """One member of a mean: everything but its weights."""

    folder: Path
    scheme: str  # how the run calls its model; the runs of a scheme are its folds and seeds
    settings: Settings
    checkpoint: Path
    digest: str  # of its weights
    inference: str  # precision and windows of its predictions, as ``load_run`` puts it
    loading: Loading
    preparer: Preparer
    kind: Kind  # of its scores
    lesion_channel: int
    finish: Where
    plan: Windows
    modality: str | None = None  # the image that its only channel is fed with; None: the run's own modalities
    windows: Asked = None  # where members of one ensemble differ in them

    @property
    def applied(self) -> str:
        """To what and how it is applied, where that is not the run's own way; "" where it is."""
        windows = json.dumps(self.windows, sort_keys=True, default=str) if self.windows is not None else ""
        return " ".join(word for word in (self.modality, windows) if word)

    @property
    def place(self) -> tuple[str, Path, str, str]:
        """Where it stands among the others: the order in which they were named changes no bit."""
        return self.scheme, self.folder, self.checkpoint.name, self.applied


class Pool:
    """Runs by what is loaded. As many stay as fit a budget, and at least one; the others are loaded for each case.

    Args:
        load: what is loaded -> run.
        memory_gb: for weights that stay; besides them, one more run may be in memory at a time.
    """

    def __init__(self, load: Callable[[Loading], Run], memory_gb: float) -> None:
        self._load = load
        self._free = memory_gb * 1e9
        self._kept: dict[Loading, Run] = {}
        self._seen: dict[Loading, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Runs that stay loaded."""
        return len(self._kept)

    def kept(self, loading: Loading) -> Run | None:
        """A run that stays loaded; None where it does not."""
        return self._kept.get(loading)

    def run(self, loading: Loading) -> Run:
        """A run with its weights.

        Raises:
            RunError: its checkpoint is another than when it was loaded first.
        """
        if loading in self._kept:
            return self._kept[loading]
        run = self._load(loading)
        state = run.checkpoint.stat()
        if self._seen.setdefault(loading, (state.st_mtime_ns, state.st_size)) != (state.st_mtime_ns, state.st_size):
            raise RunError(
                run.checkpoint,
                found="another checkpoint than when this began",
                expected="a run that is not training any more",
                remedy="wait until it has finished, then begin again",
            )
        size = sum(tensor.numel() * tensor.element_size() for tensor in run.model.state_dict().values())
        if size <= self._free or not self._kept:
            self._free -= size
            self._kept[loading] = run
        return run


def members_of(
    folders: Sequence[Path],
    pool: Pool,
    *,
    schemes: Mapping[Path, str],
    checkpoints: Sequence[str | None],
    windows: Sequence[Asked],
    modalities: Sequence[str],
) -> Iterator[tuple[Member, Run]]:
    """Every run with every checkpoint, every plan of windows and every image, each loaded once to see that it can be.

    Args:
        folders: of runs.
        pool: that loads them.
        schemes: of which scheme each folder is, where that is not how the run calls its model.
        checkpoints: as ``load_run`` takes them; ``snapshots``: all of each run.
        windows: as ``load_run`` takes them.
        modalities: that the only channel of each run is fed with, one by one; (): each run's own.

    Raises:
        RunError: a folder is no run, a member is named twice, or snapshots are asked for of a run without.
        ConfigError: modalities for a run of several channels.
    """
    for folder, count in Counter(folders).items():
        if count > 1:
            raise RunError(folder, found="the same run twice", expected="each member once", remedy="leave one out")
    found: list[Member] = []
    asked = [(folder, name) for folder in folders for name in each_named(folder, checkpoints)]
    for loading in [Loading(*one, plan) for one in asked for plan in range(len(windows))]:
        run = pool.run(loading)
        member = Member(
            folder=run.folder,
            scheme=schemes.get(loading.folder, run.name),
            settings=run.settings,
            checkpoint=run.checkpoint,
            digest=run.digest,
            inference=run.provenance["inference"],
            loading=loading,
            preparer=run.preparation_of,
            kind=getattr(run.view.windows, "scores", "probabilities"),
            lesion_channel=run.model.lesion_channel,
            finish=run.finish,
            plan=run.view.windows,
            windows=windows[loading.windows] if len(windows) > 1 else None,
        )
        for one in _fed(member, modalities) if modalities else [member]:
            _check_new(one, found)
            found.append(one)
            yield one, run


def sharing(members: Sequence[Member], name: str) -> tuple[Member, ...]:
    """The members in their order, with one preparer for all that see scans alike.

    Args:
        members: of an ensemble.
        name: of the ensemble, for messages.
    """
    common = {}
    for seen in dict.fromkeys(_seen(member) for member in members):
        common[seen] = shared([member.preparer for member in members if _seen(member) == seen], name)
    placed = sorted(members, key=lambda member: member.place)
    return tuple(replace(member, preparer=common[_seen(member)] or member.preparer) for member in placed)


def _seen(member: Member) -> tuple[Preparation, bool, bool]:
    """What members have in common that see scans alike, if their trainings did."""
    preparer = member.preparer
    return preparer.own, preparer.any_contrast, preparer.base is not None


def _fed(member: Member, modalities: Sequence[str]) -> list[Member]:
    preparer, own = member.preparer, member.preparer.own.modalities
    if preparer.any_contrast:
        return [replace(member, modality=name, preparer=preparer.alone(name)) for name in modalities]
    if len(own) > 1:
        raise ConfigError(
            member.folder,
            found=f"a run of {', '.join(own)}, to be applied to each of {', '.join(modalities)}",
            expected="a run of one modality",
            remedy="leave the modalities out, or name a run that was trained on one",
        )
    return [replace(member, modality=name, preparer=preparer.fed_with(name)) for name in modalities]


def _check_new(member: Member, members: Sequence[Member]) -> None:
    """Refuse copies. Checkpoints of one run may hold the same weights: the last epoch may have been the best."""
    for other in members:
        if other.place == member.place and other.checkpoint == member.checkpoint:
            raise RunError(
                member.folder,
                found=f"{member.checkpoint.name} twice" + (f", applied to {member.applied}" if member.applied else ""),
                expected="each member once",
                remedy="leave one out",
            )
        if other.folder != member.folder and (other.digest, other.applied) == (member.digest, member.applied):
            raise RunError(
                member.folder,
                found=f"the weights of {other.folder}, to the last bit",
                expected="members that were trained apart",
                remedy="leave the copy out",
            )
