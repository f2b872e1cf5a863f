"""A cohort held against the rules before anything is trained on it: counts, grids, lesion volumes, every problem.

Headers and masks are always read; image voxels when the cohort is small or when asked for. Knows no preparation.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from strokelab.contract import Case
from strokelab.data import readers
from strokelab.data.check_case import Findings, Problem, look, look_deep, look_whole, problem_of
from strokelab.data.readers._tree import Release
from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid
from strokelab.placement import check_covers

__all__ = ["FREE_VOXELS", "CohortReport", "Problem", "check_cohort"]

# Voxels of all images together up to which they are read without being asked: a few seconds.
FREE_VOXELS = 150_000_000


@dataclass(frozen=True)
class CohortReport:
    """What lies in a dataset's folder. ``ok`` is False when there is an error."""

    dataset: str
    root: str
    cases: int = 0
    labelled: int = 0
    subjects: int = 0
    sites: Mapping[str, int] = field(default_factory=dict)  # site -> cases; unknown sites are not in it
    modalities: Mapping[str, int] = field(default_factory=dict)  # modality -> cases
    grids: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # modality -> "shape, mm, RAS" -> cases
    lesion_volumes_ml: Mapping[str, float] = field(default_factory=dict)  # labelled case -> volume
    problems: Sequence[Problem] = ()
    voxels_read: bool = False  # whether the voxels of the images were looked at, too

    @property
    def ok(self) -> bool:
        """Whether nothing must be mended before training."""
        return not any(problem.severity == "error" for problem in self.problems)

    @property
    def volume_quartiles_ml(self) -> tuple[float, float, float, float, float] | None:
        """Smallest, first quartile, median, third quartile and largest lesion volume, ml; None without masks."""
        if not self.lesion_volumes_ml:
            return None
        low, first, median, third, high = np.quantile(list(self.lesion_volumes_ml.values()), [0, 0.25, 0.5, 0.75, 1])
        return float(low), float(first), float(median), float(third), float(high)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the fields of ``strokelab check --json`` (``docs/json.md``)."""
        content = asdict(self)
        content["problems"] = [asdict(problem) for problem in self.problems]
        return {"ok": self.ok, **content}


def check_cohort(
    root: str | Path, dataset: str, *, deep: bool = False, workers: int | None = None, **options: Any
) -> CohortReport:
    """Look at every file of a cohort and list every problem instead of stopping at the first.

    Args:
        root: the dataset's folder.
        dataset: a name of ``strokelab.data.readers``.
        deep: read the voxels of all images, too (NaN, constant, one scan under two names). Without it that is done
            only while the images together stay below ``FREE_VOXELS``.
        workers: threads; None: as many as there are processors, at most 8.
        options: the reader's options; where it knows ``subset``, all of the release is looked at by default.

    Raises:
        ConfigError: an unknown dataset or option.
    """
    if "subset" in readers.options(dataset):
        options = {"subset": "all", **options}
    place = str(Path(root).expanduser().resolve())
    found: list[DataError] = []
    with warnings.catch_warnings(record=True) as caught:  # around the threads: the filter is one for all of them
        warnings.simplefilter("always", DataWarning)
        try:
            cases = readers.read(dataset, place, found, **options)
        except DataError as error:
            return CohortReport(dataset, place, problems=tuple(map(problem_of, found or [error])))
        with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
            findings = list(pool.map(look, cases))
            voxels_read = deep or _voxels(findings) <= FREE_VOXELS
            list(pool.map(look_deep if voxels_read else look_whole, cases, findings))
    release = readers.reader(dataset).RELEASE
    problems = [problem_of(error) for error in found]
    problems += [problem for finding in findings for problem in finding.problems]
    problems += [_warning(w.message) for w in caught if issubclass(w.category, DataWarning)]
    for case, finding in zip(cases, findings, strict=True):
        problems += _other_grids(case, finding, release)
    problems += _copies(findings)
    problems += _about_sites(place, cases)
    problems += _about_release(place, cases, release)
    order = {"error": 0, "warning": 1, "note": 2}
    grids: dict[str, Counter[str]] = defaultdict(Counter)
    for finding in findings:
        for modality, grid in finding.grids.items():
            grids[modality][_short(grid)] += 1
    return CohortReport(
        dataset=dataset,
        root=place,
        cases=len(cases),
        labelled=sum(case.labelled for case in cases),
        subjects=len({case.subject_id for case in cases}),
        sites=dict(Counter(case.site for case in cases if case.site is not None)),
        modalities=dict(Counter(modality for case in cases for modality in case.images)),
        grids={modality: dict(counts.most_common()) for modality, counts in grids.items()},
        lesion_volumes_ml={
            case.case_id: finding.volume_ml
            for case, finding in zip(cases, findings, strict=True)
            if finding.volume_ml is not None
        },
        problems=tuple(sorted(dict.fromkeys(problems), key=lambda problem: order[problem.severity])),
        voxels_read=voxels_read,
    )


def _other_grids(case: Case, finding: Findings, release: Release) -> list[Problem]:
    """Images of one case on several grids: where the release promises one, and where they do not cover each other."""
    name = case.label_modality or next(iter(case.images))
    expected = finding.grids.get(name)
    problems = []
    for modality, grid in finding.grids.items():
        if expected is None or grid.matches(expected):
            continue
        said = f"{modality} lies on another grid than {name}: it will be resampled onto it" if release.one_grid else ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            try:
                check_covers(case.images[modality], grid, case.images[name], expected)
            except DataError as error:
                problems.append(problem_of(error))
                continue
        said = "; ".join([*filter(None, [said]), *(_warning(one.message).message for one in caught)])
        if said:
            problems.append(Problem(str(case.images[modality]), said, "warning"))
    return problems


def _copies(findings: Iterable[Findings]) -> list[Problem]:
    """The same voxels under two names."""
    first: dict[str, Path] = {}
    problems = []
    for finding in findings:
        for digest, file in finding.digests.items():
            if digest in first:
                message = f"the same voxels as {first[digest]}: one scan under two names leaks across splits"
                problems.append(Problem(str(file), message, "warning"))
            first.setdefault(digest, file)
    return problems


def _about_sites(root: str, cases: Sequence[Case]) -> list[Problem]:
    counts = Counter(case.site for case in cases)
    problems = [
        Problem(f"site {site}", "a single case: too few to train a site on, or to test one", "warning")
        for site, count in counts.items()
        if count == 1 and site is not None
    ]
    if None in counts:
        problems.append(Problem(root, f"the site of {counts[None]} of {len(cases)} cases is unknown", "note"))
    return problems


def _about_release(root: str, cases: Sequence[Case], release: Release) -> list[Problem]:
    problems = [
        Problem(f"case {case.case_id}", release.errata[name], "note")
        for case in cases
        for name in dict.fromkeys((case.subject_id, case.case_id))
        if name in release.errata
    ]
    if release.counts and len(cases) not in release.counts:
        known = ", ".join(f"{count} ({which})" for count, which in release.counts.items())
        problems.append(Problem(root, f"{len(cases)} cases; the published numbers are {known}", "note"))
    return problems


def _warning(message: Warning | str) -> Problem:
    """House warnings start with the file they are about."""
    file, _, rest = str(message).partition(": ")
    return Problem(file, rest, "warning")


def _voxels(findings: Iterable[Findings]) -> int:
    return sum(int(np.prod(grid.shape)) for finding in findings for grid in finding.grids.values())


def _short(grid: Grid) -> str:
    shape = " x ".join(map(str, grid.shape))
    return f"{shape}, {' x '.join(f'{mm:.3g}' for mm in grid.spacing)} mm, {grid.orientation}"
