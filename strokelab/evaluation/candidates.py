"""The runs of a matrix, as far as their folders tell without a model. Loads no weights and no image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab import runs
from strokelab.configuration import Settings, build, check_buildable
from strokelab.errors import RunError
from strokelab.evaluation.naming import names_of
from strokelab.phantoms.naming import of_phantoms
from strokelab.preparation.recipe import Preparation
from strokelab.runs.checkpoints import own_choice

if TYPE_CHECKING:
    from strokelab.data.split_file import Split
    from strokelab.evaluation.sweep import Finished


@dataclass(frozen=True)
class Candidate:
    """One run to be tested.

    Args:
        folder: of the run.
        name: how it calls its model.
        settings: of its training.
        checkpoint: its file.
        split: who trained, validated and tested.
        preparation: of its scans.
        any_contrast: it takes whatever images a case has, each alone.
        member: its name in the sweep; "" = named on the command line.
        overrides: that tell it from the sweep's other members.
        label: how tables call the run.
        model: how tables call its model, of which there may be several runs.
        differs: settings that tell its model from its namesakes, where ``model`` does not say them.
    """

    folder: Path
    name: str
    settings: Settings
    checkpoint: Path
    split: Split
    preparation: Preparation
    any_contrast: bool
    member: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    model: str = ""
    differs: str = ""

    @property
    def each(self) -> bool:
        """Whether it is applied to each image of a case alone: a model of any contrast, or of one channel."""
        return self.any_contrast or len(self.preparation.channels) == 1

    @property
    def cohort(self) -> Mapping[str, Any]:
        """What it was trained on, as its settings describe it."""
        cohort: Mapping[str, Any] = self.settings.get("cohort") or {}
        return cohort

    @property
    def root(self) -> Path | None:
        """The folder that it was trained on, where that is still there."""
        root = self.cohort.get("root")
        place = Path(root) if isinstance(root, str) and root else None
        return place if place is not None and place.exists() else None

    @property
    def phantom(self) -> bool | None:
        """Whether it was trained on synthetic images; None: its data are gone, and it does not say so."""
        return of_phantoms(self.cohort)


def candidates_of(
    folders: Sequence[Path], finished: Sequence[Finished], *, checkpoint: str | None, allow: Sequence[str]
) -> list[Candidate]:
    """The runs that a command names and the finished members of sweeps, named apart.

    Args:
        folders: of runs, and packed models.
        finished: members of sweeps.
        checkpoint: ``last``, ``best`` or a file; None: each run's own choice.
        allow: dotted prefixes of the user's own classes.

    Raises:
        StrokelabError: a folder is no run, is named twice, or has no such checkpoint.
    """
    listed = [(folder.expanduser().resolve(), "", dict[str, str]()) for folder in runs.run_folders(folders)]
    listed += [(one.folder.resolve(), one.name, dict(one.overrides)) for one in finished]
    for folder, count in Counter(folder for folder, _, _ in listed).items():
        if count > 1:
            raise RunError(
                folder, found=f"the same run {count} times", expected="each run once", remedy="leave the others out"
            )
    found = [_candidate(*one, checkpoint=checkpoint, allow=allow) for one in listed]
    names = names_of(found)
    return [replace(one, **own._asdict()) for one, own in zip(found, names, strict=True)]


def _candidate(
    folder: Path, member: str, overrides: Mapping[str, str], *, checkpoint: str | None, allow: Sequence[str]
) -> Candidate:
    settings = runs.read_settings(folder)
    where = folder / runs.CONFIG
    node = settings["view"]["preparation"]
    check_buildable({"view": {"preparation": node}}, allow=(*allow, *runs.own_classes(folder)), where=where)
    preparation: Preparation = build(node)
    return Candidate(
        folder,
        str(settings.get("name", folder.name)),
        settings,
        runs.find_checkpoint(folder, checkpoint or own_choice(settings, where)),
        runs.read_split(folder),
        preparation,
        bool(settings["view"].get("any_contrast")),
        member,
        overrides,
    )
