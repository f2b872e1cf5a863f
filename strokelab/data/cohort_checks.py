"""What must hold of a cohort before anything is prepared; each failure names the setting that mends it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from strokelab.command_words import setting
from strokelab.contract import HELD_OUT_SELECTS, Case
from strokelab.data.readers._tree import as_id
from strokelab.data.split_file import Split
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.files import natural_key


def existing_root(root: str | Path | None, dataset: str) -> Path:
    """The dataset's folder; of the user's own files it may be the csv that names each of them.

    Raises:
        DataError: none was named, or it does not exist.
    """
    path = Path(root or "").expanduser()
    table = dataset == "folder" and path.is_file() and path.suffix.lower() in (".csv", ".tsv")
    if not root or not (path.is_dir() or table):
        raise DataError(
            path if root else "data.root",
            found=("a file" if path.is_file() else "no such folder") if root else "no folder named",
            expected=f"the folder of dataset {dataset}" + (", or a csv" if dataset == "folder" else ""),
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
    wanted = [as_id(site, known, "data.only_sites") for site in sites]
    unknown = [site for site in wanted if site not in known]
    if unknown:
        raise ConfigError(
            "data.only_sites",
            found=f"unknown sites {unknown}",
            expected=f"some of {known}",
            remedy="correct the names; `strokelab check ROOT --dataset NAME` lists them",
        )
    return [case for case in cases if case.site in wanted]


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
                remedy=f"set data.modalities, or leave the case out with {setting('data.exclude', [case.case_id])}",
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


def check_channels(modalities: Sequence[str], channels: Sequence[str]) -> None:
    """The view must make its channels of the data's modalities.

    Raises:
        ConfigError: it makes them of others.
    """
    if tuple(modalities) != tuple(channels):
        raise ConfigError(
            "view.preparation.modalities",
            found=f"{list(channels)}",
            expected=f"data.modalities, {list(modalities)}",
            remedy="set data.modalities and leave view.preparation.modalities to follow it",
        )


def curve_cases(split: Split, cases: Sequence[Case], curves: str) -> tuple[str, ...]:
    """The cases that the curves of a training are of.

    Args:
        split: of the cohort.
        cases: of the cohort.
        curves: ``validation``, or where there is no validation part the labelled cases of the test part:
            ``held_out`` for curves alone, ``held_out_selects`` also to choose by (``HELD_OUT_SELECTS``).

    Raises:
        ConfigError: another word.
    """
    if curves not in ("validation", "held_out", HELD_OUT_SELECTS):
        raise ConfigError(
            "data.curves",
            found=repr(curves),
            expected="validation, or where no case validates the test part: held_out, held_out_selects",
            remedy="set data.curves=validation",
        )
    if split.val or curves == "validation":
        return split.val
    labelled = {case.case_id for case in cases if case.labelled}
    return tuple(case_id for case_id in split.test if case_id in labelled)


def warn_selected_by_test(split: Split, curves: str) -> None:
    """Warn where the cases that test also choose when training ends and with what weights."""
    if curves == HELD_OUT_SELECTS and not split.val:
        warnings.warn(
            f"data.curves={HELD_OUT_SELECTS}: the {len(split.test)} cases that test also choose (when training "
            "ends, which weights are kept): their scores are too good by an unknown amount; "
            "split.val_fraction=0.1 sets others aside",
            DataWarning,
            stacklevel=2,
        )
