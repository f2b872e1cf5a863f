"""Which prediction belongs to which reference, by their names. Opens no file and guesses nothing.

Two files belong together when their names are of one subject and no entity that both bear contradicts. Of several
candidates the one that shares most, then the one with least of its own, then an equal file name, then an equal folder
decides; what is still undecided is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelab.errors import DataError
from strokelab.scoreboard.finding import Found, Named
from strokelab.scoreboard.names import Name

_SHOWN = 5


@dataclass(frozen=True)
class Matched:
    """Two searches side by side."""

    partners: tuple[Named | None, ...]  # of the predictions, in the order of the references
    extra: tuple[Named, ...]  # predictions that belong to no reference


def match(references: Found, predictions: Found) -> Matched:
    """Find for every reference its prediction.

    Two single files belong together whatever they are called.

    Raises:
        DataError: a reference fits several predictions, a prediction several references, or nothing fits at all.
    """
    if references.single and predictions.single:
        return Matched((predictions.files[0],), ())
    by_subject: dict[str, list[Named]] = {}
    for one in predictions.files:
        by_subject.setdefault(one.name.subject.casefold(), []).append(one)
    partners = [_closest(reference, by_subject) for reference in references.files]
    undecided = [(one, several) for one, several in zip(references.files, partners, strict=True) if len(several) > 1]
    if undecided:
        listed = [f"{_names(several)} for {one.path}" for one, several in undecided]
        raise _ambiguous(references, predictions, f"several predictions for one reference: {_some(listed)}")
    chosen = [several[0] if several else None for several in partners]
    claims: dict[Path, list[Named]] = {}
    for reference, partner in zip(references.files, chosen, strict=True):
        if partner is not None:
            claims.setdefault(partner.path, []).append(reference)
    shared = [f"{_names(owners)} for {path}" for path, owners in claims.items() if len(owners) > 1]
    if shared:
        raise _ambiguous(references, predictions, f"several references for one prediction: {_some(shared)}")
    if not claims:
        raise DataError(
            predictions.where,
            found=f"{len(predictions.files)} files, of {_keys(predictions)}",
            expected=f"files of the references in {references.where}: {_keys(references)}",
            remedy="rename one side, or name the pairs in a table: --pairs FILE.csv (case, prediction, reference)",
        )
    return Matched(tuple(chosen), tuple(one for one in predictions.files if one.path not in claims))


def closest_to(name: Name, files: Iterable[Named]) -> list[Named]:
    """The files that fit a name best: none, one, or several that fit equally well."""
    fitting = [one for one in files if not name.contradicts(one.name)]
    best = max((name.closeness(one.name) for one in fitting), default=None)
    return [one for one in fitting if name.closeness(one.name) == best]


def _closest(reference: Named, by_subject: dict[str, list[Named]]) -> list[Named]:
    return closest_to(reference.name, by_subject.get(reference.name.subject.casefold(), ()))


def _ambiguous(references: Found, predictions: Found, what: str) -> DataError:
    return DataError(
        f"{predictions.where} and {references.where}",
        found=what,
        expected="one prediction for each reference, told by sub, ses and further BIDS entities, or by the file name",
        remedy="narrow the folders, give a quoted pattern such as 'folder/**/*_mask.nii.gz', or name the pairs in a "
        "table: --pairs FILE.csv",
    )


def _keys(found: Found) -> str:
    return _some(sorted({one.name.key for one in found.files}), most=3)


def _names(files: Sequence[Named]) -> str:
    return " and ".join(str(one.path) for one in files[:_SHOWN]) + (" ..." if len(files) > _SHOWN else "")


def _some(texts: Sequence[str], most: int = _SHOWN) -> str:
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more
