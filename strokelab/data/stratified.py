"""Parts of a cohort that hold small and large lesions alike. Knows subjects, numbers of scans and lesion volumes.

Parts are counted in scans, and a subject's scans stay together. How many scans of each quarter a part gets is a table
whose rows and columns are given; it is rounded so that no entry differs by one or more from its due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np

from strokelab.data.subjects import Subjects, strata
from strokelab.files import natural_key
from strokelab.seeding import stream

QUARTERS = 4
_TRIALS = 32
Counts = dict[str, int]


def parts_by_volume(
    subjects: Subjects, volumes: Mapping[str, float], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """The part of each subject, at random within the quarters of the lesion volume.

    Subjects are ranked by the largest lesion volume of their scans, and cut into four groups of equally many scans;
    those whose every mask is empty are a group of their own. Each part gets round(share * scans) of them, at least 1:
    exactly where subjects allow it, else as near as they do.

    Args:
        subjects: to be divided.
        volumes: ml of every case by id.
        shares: of the scans, part by part; what is left trains.
        seed: of the choice.

    Returns:
        Subject -> a name of ``shares``, or ``train``.
    """
    groups = _groups(subjects, volumes)
    scans = [sum(len(subjects[subject]) for subject in group) for group in groups]
    totals = {part: max(round(share * sum(scans)), 1) for part, share in shares.items() if share > 0}
    targets = _targets(scans, totals)
    found: tuple[int, dict[str, str]] | None = None
    for trial in range(_TRIALS):  # a first part may have taken the subjects that a later one needed
        part, missed = dict.fromkeys(subjects, "train"), 0
        rng = stream(seed, "stratified", trial)
        for name, total in totals.items():
            chosen = _chosen(subjects, groups, part, [target[name] for target in targets], total, rng)
            part.update(dict.fromkeys(chosen, name))
            missed += abs(sum(len(subjects[subject]) for subject in chosen) - total)
        if found is None or missed < found[0]:
            found = missed, part
        if not missed:
            break
    assert found is not None
    return found[1]


def _groups(subjects: Subjects, volumes: Mapping[str, float]) -> list[list[str]]:
    """The quarters, smallest lesions first, and those without any."""
    kinds = strata(subjects, lambda: volumes)
    largest = {subject: max(volumes[case.case_id] for case in scans) for subject, scans in subjects.items()}
    ranked = sorted(kinds["lesion"], key=lambda subject: (largest[subject], natural_key(subject)))
    groups: list[list[str]] = [[] for _ in range(QUARTERS)]
    total, before = sum(len(subjects[subject]) for subject in ranked), 0
    for subject in ranked:
        size = len(subjects[subject])
        groups[(QUARTERS * (2 * before + size)) // (2 * total)].append(subject)
        before += size
    return [group for group in (*groups, kinds["empty"]) if group]


def _targets(scans: Sequence[int], totals: Counts) -> list[Counts]:
    """Scans of each group for each part, within less than one of their due.

    Args:
        scans: of each group.
        totals: of each part; what is left trains.
    """
    everyone = sum(scans)
    wanted = {**totals, "train": everyone - sum(totals.values())}
    floors = [{part: count * total // everyone for part, total in wanted.items()} for count in scans]
    rests = [{part: count * total % everyone for part, total in wanted.items()} for count in scans]
    rounded_up = [
        [*combinations([part for part in wanted if rest[part]], count - sum(floor.values()))]
        for count, floor, rest in zip(scans, floors, rests, strict=True)
    ]
    # Every table has such a rounding; of several, the one whose largest fractions are rounded up.
    best: tuple[int, tuple[tuple[str, ...], ...]] | None = None
    for choice in product(*rounded_up):
        sums = {
            part: sum(floor[part] + (part in up) for floor, up in zip(floors, choice, strict=True)) for part in wanted
        }
        gain = sum(rest[part] for rest, up in zip(rests, choice, strict=True) for part in up)
        if sums == wanted and (best is None or gain > best[0]):
            best = gain, choice
    assert best is not None
    return [
        {part: count + (part in up) for part, count in floor.items()} for floor, up in zip(floors, best[1], strict=True)
    ]


def _chosen(
    subjects: Subjects,
    groups: Sequence[Sequence[str]],
    part: Mapping[str, str],
    targets: Sequence[int],
    total: int,
    rng: np.random.Generator,
) -> list[str]:
    """Subjects that are in no part yet and have ``total`` scans, of each group as many as its target; or nearly."""
    free = [[subject for subject in group if part[subject] == "train"] for group in groups]
    mixed = [[group[index] for index in rng.permutation(len(group))] for group in free]
    sizes = [[len(subjects[subject]) for subject in group] for group in mixed]
    most = total + max(len(scans) for scans in subjects.values())
    found: list[str] = []
    for group, each, count in zip(mixed, sizes, _reached(sizes, targets, total, most), strict=True):
        reachable = _sums(each)
        for place, (subject, size) in enumerate(zip(group, each, strict=True)):
            if size <= count and reachable[place + 1] >> (count - size) & 1:
                found.append(subject)
                count -= size
    return found


def _reached(sizes: Sequence[Sequence[int]], targets: Sequence[int], total: int, most: int) -> tuple[int, ...]:
    """How many scans each group gives: in all as near to ``total`` as there are subjects for, then to the targets."""
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for each, target in zip(sizes, targets, strict=True):
        reachable = _sums(each)[0]
        counts = [count for count in range(min(sum(each), most) + 1) if reachable >> count & 1]
        further: dict[int, tuple[int, tuple[int, ...]]] = {}
        for before, (cost, given) in best.items():
            for count in counts:
                if before + count > most:
                    break
                candidate = cost + (count - target) ** 2, (*given, count)
                further[before + count] = min(further.get(before + count, candidate), candidate)
        best = further
    # A part without a case, or one that leaves none to the others, is the last resort.
    extreme = {0, sum(map(sum, sizes))}
    return min((reached in extreme, abs(reached - total), *costs) for reached, costs in best.items())[3]


def _sums(sizes: Sequence[int]) -> list[int]:
    """For each place, which sums the sizes from there on can have: bit n of a number says that n is one."""
    found = [1]
    for size in reversed(sizes):
        found.append(found[-1] | found[-1] << size)
    return found[::-1]
