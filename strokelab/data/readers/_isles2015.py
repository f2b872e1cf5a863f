"""The file names of ISLES 2015 (Maier et al., Medical Image Analysis 2017), shared by SISS and SPES.

Knows names, opens no image. An image lies alone in a folder of its own name, ``VSD.Brain.XX.O.MR_<token>.<number>``,
where the number belongs to the file; or flat in the case's folder as ``<token>.nii``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from strokelab.contract import Case, LesionFile
from strokelab.data.readers._tree import (
    Lead,
    Problems,
    Subset,
    build_cases,
    check_choice,
    in_subset,
    listing,
    needs_label,
    nifti_files,
    one,
    subset_of,
    walk,
)
from strokelab.errors import DataError
from strokelab.nifti import is_volume, stem

log = logging.getLogger(__name__)
_LABEL_PARTS = {"ot", "penumbra", "core"}


@dataclass
class Scan:
    """The files of one numbered case folder."""

    number: int
    folder: Path
    part: Literal["training", "testing"] | None
    images: dict[str, list[Path]] = field(default_factory=dict)  # modality -> candidates
    labels: list[Path] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """Everything recognised."""
        return [*(file for files in self.images.values() for file in files), *self.labels]


def token(name: str) -> str:
    """The modality of a file stem in lower case: what follows the last ``MR_`` up to a dot, or the whole stem."""
    return name.lower().rsplit("mr_", 1)[-1].split(".")[0]


def is_label(name: str) -> bool:
    """Whether a file stem is a label's: one of its dot-separated parts is ``OT``, or names penumbra or core."""
    lower = name.lower()
    named = "penumbralabel" in lower or "corelabel" in lower or not _LABEL_PARTS.isdisjoint(lower.split("."))
    return named and "mr_" not in lower


def has_token(root: Path, wanted: set[str]) -> bool:
    """Whether some file in a numbered folder below ``root`` carries one of the tokens (lower case)."""
    return any(
        is_volume(path) and token(stem(path)) in wanted and _case_folder(path, root) is not None for path in walk(root)
    )


def read_scans(
    root: Path,
    *,
    dataset: str,
    modalities: Sequence[str],
    label_modality: str,
    lesions: Callable[[Scan, str], tuple[LesionFile, ...]],
    subset: Subset,
    exclude: Sequence[str],
    problems: Problems | None,
) -> list[Case]:
    """All numbered folders of a SISS or SPES tree as cases.

    Args:
        root: any folder above the numbered ones.
        dataset: ``isles2015_siss`` or ``isles2015_spes``; ids and site follow from it.
        modalities: what a case must have, in this order.
        label_modality: on whose grid the lesion lies.
        lesions: picks a scan's label files; called with the case's id when there are any, or must be.
        subset: training, testing or all.
        exclude: ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a case lacks a modality or its label.
    """
    check_choice("subset", subset, Subset)
    scans = _scans(root, {name.lower(): name for name in modalities})
    chosen = [scan for scan in scans if in_subset(scan.part, subset, bool(scan.labels))]
    if scans and not chosen:
        raise DataError(
            root,
            found=f"{len(scans)} cases, none of them for {subset}",
            expected=f"cases for {subset}" + (", with labels" if subset == "training" else ""),
            remedy=f"set data.options.subset={'testing' if subset == 'training' else 'training'}",
        )

    def lead(scan: Scan) -> Lead:
        short = dataset.removeprefix("isles2015_")
        case_id = f"{short}-test-{scan.number}" if scan.part == "testing" else f"{short}-{scan.number}"

        def build() -> Case:
            images: Mapping[str, Path] = {
                name: one(
                    scan.images.get(name, []),
                    case=case_id,
                    pattern=f"*MR_{name}.*.nii[.gz] or {name}.nii[.gz] below {scan.folder}",
                    around=scan.files,
                )
                for name in modalities
            }
            labelled = bool(scan.labels) or needs_label(scan.part, subset)
            return Case(
                case_id=case_id,
                subject_id=case_id,
                dataset=dataset,
                site=f"{short.upper()}-1",
                images=images,
                lesions=lesions(scan, case_id) if labelled else (),
                label_modality=label_modality,
                meta={"subset": scan.part or ("training" if scan.labels else "testing")},
            )

        return Lead(case_id, case_id, build)

    return build_cases([lead(scan) for scan in chosen], root=root, exclude=exclude, problems=problems)


def label_file(scan: Scan, case_id: str, part: str, pattern: str) -> Path:
    """The one label file with ``part`` among, or at the end of, the dot-separated parts of its name.

    Raises:
        DataError: none, or several.
    """
    return one(
        labels_with(scan, part),
        case=case_id,
        pattern=f"{pattern} below {scan.folder}",
        around=scan.files,
        remedy=""
        if scan.labels
        else "copy the label; cases without one belong under Testing (data.options.subset=testing)",
    )


def labels_with(scan: Scan, part: str) -> list[Path]:
    """The label files of a scan that are called ``part``: ``ot``, ``penumbra`` or ``core``."""
    if part == "ot":
        others = [*labels_with(scan, "penumbra"), *labels_with(scan, "core")]
        return [file for file in scan.labels if file not in others]
    return [file for file in scan.labels if part in stem(file).lower()]


def _scans(root: Path, names: Mapping[str, str]) -> list[Scan]:
    scans: dict[Path, Scan] = {}
    for file in nifti_files(root):
        folder = _case_folder(file, root)
        name = names.get(token(stem(file)))
        if folder is None or (name is None and not is_label(stem(file))):
            log.debug("not a file of this dataset: %s", file)
            continue
        number = int(re.sub(r"\D", "", folder.name))
        scan = scans.setdefault(folder, Scan(number, folder, subset_of(folder / "-", root)))
        if name is None:
            scan.labels.append(file)
        else:
            scan.images.setdefault(name, []).append(file)
    for scan in scans.values():
        log.debug("case %d: %s", scan.number, listing(scan.files))
    return list(scans.values())


def _case_folder(file: Path, root: Path) -> Path | None:
    """The nearest folder above a file that is called ``7`` or ``Nr7``."""
    parents = [parent for parent in file.parents if parent.is_relative_to(root)]
    return next((parent for parent in parents if re.fullmatch(r"(nr)?[ _.-]?\d+", parent.name, re.IGNORECASE)), None)
