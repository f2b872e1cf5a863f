"""Pseudo-labels: masks by trained models for unlabelled cases, and which of them a training may learn from.

Knows a folder of masks and its two tables; trains nothing and predicts nothing. Layout::

    labels.csv      fold, case_id, mask, voxels, volume_ml, digest: one row per mask
    teachers.json   the models of each fold's masks, and the cases and subjects they had seen in training
    fold0/CASE.nii.gz ... all/CASE.nii.gz
"""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from strokelab.buildable import buildable
from strokelab.contract import Case, LesionFile
from strokelab.data.split_file import Split
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.files import file_digest

if TYPE_CHECKING:
    from strokelab.view import View

LABELS = "labels.csv"
TEACHERS = "teachers.json"
COLUMNS = ("fold", "case_id", "mask", "voxels", "volume_ml", "digest")
EVERY = "all"
"""The masks that every teacher had a share in."""


@dataclass(frozen=True)
class LabelSet:
    """The masks by the same models.

    Args:
        name: ``fold0``, ... or ``all``.
        teachers: run folders of these models, as their author wrote them down.
        seen: ids of the cases that any of them trained or validated on.
        subjects: of these cases.
        masks: case id -> mask on the grid of the case's image.
        digests: case id -> digest of that file.
    """

    name: str
    teachers: tuple[str, ...]
    seen: frozenset[str]
    subjects: frozenset[str]
    masks: Mapping[str, Path]
    digests: Mapping[str, str] = field(default_factory=dict)

    def is_honest_for(self, split: Split) -> bool:
        """Whether none of its teachers has seen a case that the split tests on, or another scan of such a subject."""
        tested = {split.about[case_id][0] for case_id in split.test if case_id in split.about}
        return self.seen.isdisjoint(split.test) and self.subjects.isdisjoint(tested)


@buildable(training="data")
@dataclass(frozen=True)
class PseudoLabels:
    """Unlabelled cases that train beside the labelled ones (Huo 2022): the node ``data.pseudo``.

    Args:
        root: the folder that ``strokelab self-train`` writes.
        weight: how often a pseudo-labelled case is sampled for each time that a labelled one is; Huo 2022: 1.
        per_fold: take masks by models that have not seen the test cases of the split; False: those of all models,
            which makes scores of a cross-validation look better than they are.
        digest: of ``labels.csv``, so that a run knows its masks again; None: whatever lies there.

    Raises:
        ConfigError: the weight is not positive.
    """

    root: str | Path
    weight: float = 1.0
    per_fold: bool = True
    digest: str | None = None

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ConfigError(
                "data.pseudo.weight",
                found=str(self.weight),
                expected="a number above 0",
                remedy="set data.pseudo.weight=1, or leave pseudo-labels out with data.pseudo=null",
            )

    def chosen(self, split: Split) -> LabelSet:
        """The masks for a split: of those allowed, the ones most models had a share in.

        Args:
            split: of the labelled cases.

        Raises:
            DataError: the folder is incomplete, has other masks than ``digest`` says, or none for this split.
        """
        root = Path(self.root).expanduser()
        sets = read_label_sets(root)
        if self.digest is not None and self.digest != file_digest(root / LABELS):
            raise DataError(
                root / LABELS,
                found="other masks than those this training was to learn from",
                expected=f"data.pseudo.digest={self.digest}",
                remedy="restore the folder, or start a new run",
            )
        allowed = [one for one in sets if (one.is_honest_for(split) if self.per_fold else one.name == EVERY)]
        if not allowed:
            raise self._none_for(split, [one.name for one in sets])
        return max(allowed, key=lambda one: len(one.teachers))

    def view_of(self, view: View) -> View:
        """As the labelled cases are seen."""
        return view

    def described(self, split: Split, cases: Sequence[Case]) -> dict[str, Any]:
        """Which masks they are, by which models, and whether these have seen test cases of the split."""
        labels = self.chosen(split)
        return {
            "pseudo_labels": {
                "masks": labels.name,
                "cases": len(cases),
                "teachers": list(labels.teachers),
                "honest": labels.is_honest_for(split),
            }
        }

    def joined(self, unlabelled: Callable[[], Sequence[Case]], split: Split) -> tuple[list[Case], Split]:
        """The pseudo-labelled cases, and the split with them in its training part and nowhere else.

        Scans of subjects that test or validate are left out, with a warning: no subject stands on two sides. A warning
        also says when ``per_fold`` is off and the masks are by models that have seen test cases.

        Args:
            unlabelled: gives the cases of the cohort without masks.
            split: of the labelled cases; theirs stay where they are.

        Raises:
            DataError: as ``chosen``; an unlabelled case has no mask, or a mask no case.
        """
        labels, bare = self.chosen(split), unlabelled()
        _check_same(Path(self.root) / LABELS, labels, bare)
        if not labels.is_honest_for(split):
            warnings.warn(
                f"masks {labels.name!r} are by models that have seen test cases of this split: scores of its test part "
                "will look better than they are (data.pseudo.per_fold=false)",
                DataWarning,
                stacklevel=2,
            )
        aside = {split.about[case_id][0] for case_id in (*split.val, *split.test) if case_id in split.about}
        left = [case.case_id for case in bare if case.subject_id in aside]
        if left:
            warnings.warn(
                f"{left} left out of training: these subjects validate or test with other scans",
                DataWarning,
                stacklevel=2,
            )
        cases = [
            replace(case, lesions=(LesionFile(labels.masks[case.case_id]),), meta={**case.meta, "pseudo": labels.name})
            for case in bare
            if case.subject_id not in aside
        ]
        about = dict(split.about) | {case.case_id: (case.subject_id, case.site or "") for case in cases}
        return cases, replace(split, train=(*split.train, *(case.case_id for case in cases)), about=about)

    def _none_for(self, split: Split, names: Sequence[str]) -> DataError:
        if not self.per_fold:
            return DataError(
                Path(self.root) / TEACHERS,
                found=f"masks {list(names)}",
                expected=f"masks {EVERY!r}, by all models",
                remedy="set data.pseudo.per_fold=true",
            )
        return DataError(
            Path(self.root) / TEACHERS,
            found=f"masks {list(names)}, all by models that have seen some of the {len(split.test)} test cases",
            expected="masks by models that have seen none of them",
            remedy="give the split that the models had: split, split.fold, split.seed. "
            "data.pseudo.per_fold=false takes the masks of all models; scores of the test part are then not honest",
        )


def read_label_sets(root: Path) -> list[LabelSet]:
    """All masks of a folder, in the order of its teachers.

    Raises:
        DataError: the folder, a table or a mask is missing or damaged, or a mask would lie outside the folder.
    """
    rows, teachers = _rows(root / LABELS), _teachers(root / TEACHERS)
    masks: dict[str, dict[str, Path]] = {name: {} for name in teachers}
    digests: dict[str, dict[str, str]] = {name: {} for name in teachers}
    for row in rows:
        place = PurePosixPath(row["mask"])
        if row["fold"] not in masks or row["case_id"] in masks[row["fold"]]:
            raise _damaged(root / LABELS, f"fold {row['fold']!r} of case {row['case_id']!r}, unknown or a second time")
        if place.is_absolute() or ".." in place.parts or not (root / place).is_file():
            raise _damaged(root / LABELS, f"the mask {row['mask']!r}, which is not in the folder")
        masks[row["fold"]][row["case_id"]] = root / place
        digests[row["fold"]][row["case_id"]] = row["digest"]
    return [
        LabelSet(
            name,
            tuple(entry["runs"]),
            frozenset(entry["seen"]),
            frozenset(entry["persons"]),
            masks[name],
            digests[name],
        )
        for name, entry in teachers.items()
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not rows or not set(COLUMNS) <= set(rows[0]) or any(value is None for row in rows for value in row.values()):
        raise _damaged(path, f"columns {sorted(map(str, rows[0]))}" if rows else "no rows")
    return rows


def _teachers(path: Path) -> dict[str, dict[str, list[str]]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        folds = content["folds"]
        teachers = {
            str(name): {key: [str(item) for item in entry[key]] for key in ("runs", "seen", "persons")}
            for name, entry in folds.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not teachers:
        raise _damaged(path, "no folds")
    return teachers


def _check_same(path: Path, labels: LabelSet, unlabelled: Sequence[Case]) -> None:
    ids = {case.case_id for case in unlabelled}
    without, strange = sorted(ids - labels.masks.keys()), sorted(labels.masks.keys() - ids)
    if without or strange:
        raise DataError(
            path,
            found=f"{len(without)} unlabelled cases without a mask in {labels.name} {without[:3]}, "
            f"{len(strange)} masks of unknown cases {strange[:3]}",
            expected="a mask for every unlabelled case of the cohort, and no others",
            remedy="make the pseudo-labels anew with the same data settings: strokelab self-train",
        )
    for case_id in sorted(ids):
        if file_digest(labels.masks[case_id]) != labels.digests[case_id]:
            raise _damaged(labels.masks[case_id], f"another mask than the one {LABELS} lists")


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        path,
        found=found,
        expected=f"what `strokelab self-train` writes: {LABELS} and {TEACHERS} beside the masks",
        remedy="finish the pseudo-labels by giving its command again, and name their folder: data.pseudo.root=DIR",
    )
