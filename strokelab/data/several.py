"""Several datasets as one cohort: ids, subjects and sites bear the dataset's name, channels are named. Opens no image.

What a run records of it, ``read_cases("several", root, datasets=...)`` finds again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from strokelab.contract import Case
from strokelab.data import SEVERAL, readers
from strokelab.errors import ConfigError, DataError, DataWarning

_V1, _V2 = "atlas_v1", "atlas_v2"
_FLAG, _NUMBER = "atlas 1.2", "indi subject id"  # columns of the metadata of ATLAS v2.0, as its reader calls them
_NO = ("", "0", "no", "n", "none", "n/a", "na", "nan", "false")
_KEYS = ("dataset", "root", "options", "contrasts", "weight")


@dataclass(frozen=True)
class Member:
    """One dataset of several.

    Args:
        name: that its ids and sites bear.
        dataset: a reader's name.
        root: its folder, or the csv of own files.
        options: the reader's own.
        contrasts: channel -> the image that this dataset gives for it; what is not named has the channel's own name.
        weight: how often a case of it is sampled for each time that one of weight 1 is.
    """

    name: str
    dataset: str
    root: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    contrasts: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0

    def plain(self) -> dict[str, Any]:
        """The same as plain data, which ``members_of`` takes."""
        return {
            "dataset": self.dataset,
            "root": str(self.root),
            "options": dict(self.options),
            "contrasts": dict(self.contrasts),
            "weight": self.weight,
        }


def members_of(datasets: Any, root: Path) -> tuple[Member, ...]:
    """The datasets that a setting names.

    Args:
        datasets: names of datasets, or name -> ``root``, ``dataset`` (where the name is the user's own), ``options``,
            ``contrasts``, ``weight``; each may be left out.
        root: below which a dataset without a root of its own lies, under its name.

    Raises:
        ConfigError: fewer than two, another key, an unknown dataset, or a weight that is not above 0.
    """
    asked: Any = {str(name): None for name in datasets} if isinstance(datasets, (list, tuple)) else datasets
    if not isinstance(asked, Mapping) or len(asked) < 2 or len(asked) < len(datasets):
        raise ConfigError(
            "data.datasets",
            found=f"{datasets}",
            expected="two datasets or more, each once",
            remedy="write data.datasets=[atlas_v1,isles2022], or one dataset with data=atlas_v1",
        )
    found = []
    for name, node in asked.items():
        given: Mapping[str, Any] = node if isinstance(node, Mapping) else {}
        wrong = [key for key in given if key not in _KEYS] or ([str(node)] if node and not given else [])
        weight = given.get("weight", 1)
        if wrong or not isinstance(weight, (int, float)) or not weight > 0:
            raise ConfigError(
                f"data.datasets.{name}",
                found=f"the key {wrong[0]!r}" if wrong else f"weight: {weight!r}",
                expected=f"only {', '.join(_KEYS)}; weight a number above 0",
                remedy="correct the spelling, or leave it out",
            )
        dataset = str(given.get("dataset") or name)
        readers.reader(dataset)
        place = Path(str(given.get("root") or root / str(name))).expanduser().resolve()
        options = {key: value for key, value in (given.get("options") or {}).items() if value is not None}
        found.append(Member(str(name), dataset, place, options, dict(given.get("contrasts") or {}), float(weight)))
    return tuple(found)


def read(root: str | Path, *, datasets: Any, exclude: Sequence[str] = ()) -> list[Case]:
    """The cases of all datasets.

    The id of a case is ``<name>_<its id>``, its subject and site likewise; a dataset of unknown sites is one site.
    Subjects of ATLAS v1.2 that are in v2.0 are one subject, by the metadata of v2.0.

    Args:
        root: as for ``members_of``.
        datasets: as for ``members_of``.
        exclude: ids of cases or subjects to leave out, as they are called here.

    Raises:
        ConfigError: as ``members_of``, or a contrast that another image of the dataset is called by.
        DataError: a dataset cannot be read, two cases have one id, or both releases of ATLAS are there without the
            table that tells their subjects.
    """
    members = members_of(datasets, Path(root).expanduser())
    old = next((member.name for member in members if member.dataset == _V1), "")
    found = [case for member in members for case in _renamed(member, old)]
    unknown = [name for name in exclude if not any(name in (case.case_id, case.subject_id) for case in found)]
    if unknown:
        raise ConfigError(
            "data.exclude",
            found=f"{unknown}",
            expected=f"ids with the dataset's name before them, such as {found[0].case_id}",
            remedy="correct the ids",
        )
    kept = [case for case in found if not {case.case_id, case.subject_id} & {*exclude}]
    ids = [case.case_id for case in kept]
    if twice := sorted({name for name in ids if ids.count(name) > 1}) if len({*ids}) < len(ids) else []:
        raise DataError(
            "data.datasets",
            found=f"{len(twice)} case ids twice, first {twice[0]!r}",
            expected="names of datasets that keep their cases apart",
            remedy="call one of the datasets otherwise",
        )
    return kept


def member_of(name: str, datasets: Mapping[str, Any]) -> tuple[str, str]:
    """Of an id of several datasets: the reader of its dataset, and the id in it; ("", id) where it is of none.

    Args:
        name: of a case or subject.
        datasets: name -> the dataset's settings, as a run records them.
    """
    for own in sorted(datasets, key=len, reverse=True):
        if name.startswith(f"{own}_"):
            node = datasets[own]
            reader = node.get("dataset") if isinstance(node, Mapping) else None
            return str(reader or own), name.removeprefix(f"{own}_")
    return "", name


def number_in_v1(case: Case) -> str:
    """The id in ATLAS v1.2 of a subject of v2.0 (or v1.2), by the metadata; "" where they tell none."""
    number = str(case.meta.get(_NUMBER, "")).strip().partition(".")[0]
    return number.zfill(6) if number.isdigit() else ""


def was_in_v1(case: Case) -> bool:
    """Whether the metadata of ATLAS v2.0 flag a scan as one of v1.2."""
    return str(case.meta.get(_FLAG, "")).strip().lower() not in _NO


def tells_v1(cases: Sequence[Case]) -> bool:
    """Whether the metadata of ATLAS v2.0 are there."""
    return any(_FLAG in case.meta for case in cases)


def _renamed(member: Member, old: str) -> list[Case]:
    """The cases of one dataset under their names in the whole.

    Args:
        member: the dataset.
        old: how the dataset ATLAS v1.2 is called, where it is there.
    """
    cases = readers.read(member.dataset, member.root, **member.options)
    together = bool(old) and member.dataset == _V2
    if together and not tells_v1(cases):
        raise DataError(
            member.root,
            found="ATLAS v1.2 and v2.0 in one training, and no metadata that tell who is in both",
            expected="the metadata table of v2.0, with the columns ATLAS 1.2 and INDI Subject ID",
            remedy="put the table into this folder, or leave one of the two releases out",
        )
    if together and (nameless := [case for case in cases if was_in_v1(case) and not number_in_v1(case)]):
        warnings.warn(
            f"{len(nameless)} cases of {member.name} are in ATLAS v1.2 under ids that its metadata lack: left out",
            DataWarning,
            stacklevel=3,
        )
        cases = [case for case in cases if case not in nameless]
    return [_one(case, member, old if together and was_in_v1(case) else "") for case in cases]


def _one(case: Case, member: Member, old: str) -> Case:
    images = dict(case.images)
    for channel, contrast in member.contrasts.items():
        if channel in case.images and contrast != channel:
            raise ConfigError(
                f"data.datasets.{member.name}.contrasts",
                found=f"{channel}: {contrast}, where {channel} is another image of {case.case_id}",
                expected="a name for the channel that no image of this dataset has",
                remedy="call the channel otherwise in data.modalities, e.g. data.modalities=[image]",
            )
        if contrast in images:
            images[channel] = images.pop(contrast)
    called = {contrast: channel for channel, contrast in member.contrasts.items()}
    subject = f"{old}_{number_in_v1(case)}" if old else f"{member.name}_{case.subject_id}"
    return replace(
        case,
        case_id=f"{member.name}_{case.case_id}",
        subject_id=subject,
        dataset=SEVERAL,
        site=member.name if case.site is None else f"{member.name} {case.site}",
        images=images,
        label_modality=called.get(case.label_modality, case.label_modality),
        meta={**case.meta, "dataset": member.name},
    )
