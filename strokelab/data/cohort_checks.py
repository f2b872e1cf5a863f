"""What must hold of a cohort before anything is prepared; each failure names the setting that mends it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from strokelab.contract import Case
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.files import natural_key


def existing_root(root: str | Path | None, dataset: str) -> Path:
    """The dataset's folder.

    Raises:
        DataError: none was named, or it does not exist.
    """
    path = Path(root or "").expanduser()
    if not root or not path.is_dir():
        raise DataError(
            path if root else "data.root",
            found="no such folder" if root else "no folder named",
            expected=f"the folder of dataset {dataset}",
            remedy="set data.root=FOLDER, or the environment variable STROKELAB_DATA to where your datasets lie",
        )
    return path


def check_not_empty(cases: Sequence[Case], root: Path) -> None:
    """Stop when the settings left no case.

    Raises:
        DataError: they did.
    """
    if not cases:
        raise DataError(
            root,
            found="no case left",
            expected="at least one",
            remedy="check data.exclude, data.labelled_only and data.limit_per_site",
        )


def of_sites(cases: Sequence[Case], sites: Sequence[str]) -> list[Case]:
    """The cases of some sites.

    Raises:
        ConfigError: a site that no case comes from.
    """
    known = sorted({case.site for case in cases if case.site is not None}, key=natural_key)
    unknown = [site for site in sites if site not in known]
    if unknown:
        raise ConfigError(
            "data.only_sites",
            found=f"unknown sites {unknown}",
            expected=f"some of {known}",
            remedy="correct the names; `strokelab check ROOT --dataset NAME` lists them",
        )
    return [case for case in cases if case.site in sites]


class MissingModalityError(DataError):
    """A case lacks a modality; ``images`` are those it has."""

    images: tuple[str, ...] = ()


def check_modalities(cases: Sequence[Case], modalities: Sequence[str]) -> None:
    """Every case must have every modality.

    Raises:
        DataError: naming the first case that lacks one.
    """
    for case in cases:
        missing = [name for name in modalities if name not in case.images]
        if missing:
            error = MissingModalityError(
                f"{case.case_id} ({case.reference_image.parent})",
                found=f"modalities {sorted(case.images)}",
                expected=f"also {missing}, as data.modalities says",
                remedy=f"set data.modalities, or leave the case out with data.exclude=[{case.case_id}]",
            )
            error.images = tuple(case.images)
            raise error


def check_site_count(cases: Sequence[Case], stated: int | None, root: Path) -> None:
    """Warn when a cohort has another number of sites than its settings say; sweeps over sites count on it."""
    sites = {case.site for case in cases if case.site is not None}
    if stated is not None and len(sites) != stated:
        warnings.warn(
            f"{root}: {len(sites)} sites, but data.n_sites says {stated}; a sweep over sites would miss some or fail: "
            f"set data.n_sites={len(sites)}",
            DataWarning,
            stacklevel=2,
        )
