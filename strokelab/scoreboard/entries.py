"""What is to be scored: from folders whose names are matched, or from a table of pairs. Opens no image."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from strokelab.contract import Case, LesionFile
from strokelab.data import read_cases
from strokelab.data.readers._tree import nifti_files
from strokelab.errors import ConfigError, DataError
from strokelab.inference.derivative import bids_entities
from strokelab.nifti import stem
from strokelab.scoreboard.finding import Found, Named, find_masks
from strokelab.scoreboard.lists import Line, read_lines, read_participants
from strokelab.scoreboard.matching import match
from strokelab.scoreboard.names import case_ids, read_name, read_names
from strokelab.scoreboard.score import Entry, Reference
from strokelab.scoring.cases import scanner_of

_ABOUT = ("subject", "site", "scanner")


@dataclass(frozen=True)
class Entries:
    """Everything to be scored, and what has to be said about how it was found."""

    entries: tuple[Entry, ...]
    where: Path  # of the references, or the table
    dataset: str
    notes: tuple[str, ...] = ()


def references_in(
    where: str | Path, *, graded: bool = False, images: Path | None = None
) -> tuple[Found, list[Reference]]:
    """The references of a file, a folder or a pattern; subjects are the ``sub`` of BIDS names.

    The site is the cohort where a name is of ATLAS 2.0's kind (``sub-r001s001``: ``R001``), else unknown.

    Args:
        where: the place.
        graded: the references are probability maps that will get a threshold.
        images: a folder with the scans, for the ground under overlays.

    Raises:
        DataError: there is no mask, or ``images`` is no folder.
    """
    found = find_masks(where, graded=graded)
    names = [one.name for one in found.files]
    scans = _images_by_name(found.files, images) if images is not None else [()] * len(names)
    dataset = Path(where).resolve().name
    return found, [
        _described(Reference(case, (LesionFile(one.path),), dataset=dataset, images=ground), one.name.person)
        for case, one, ground in zip(case_ids(names), found.files, scans, strict=True)
    ]


def references_of(dataset: str, root: Path) -> tuple[Found, list[Reference]]:
    """The labelled cases of a dataset strokelab can read, with its masks, subjects, sites, scanners and images.

    Raises:
        DataError: the dataset cannot be read there, or nothing in it is labelled.
        ConfigError: there is no such dataset.
    """
    cases = [case for case in read_cases(dataset, root) if case.labelled]
    if not cases:
        raise DataError(root, found="no labelled case", expected="masks", remedy="point to the part with masks")
    named = tuple(Named(case.lesions[0].path, read_name(Path(f"{case.case_id}.nii.gz"))) for case in cases)
    return Found(str(root), named), [_of_case(case, dataset) for case in cases]


def matched_entries(
    predictions: Mapping[str, str | Path],
    references: tuple[Found, Sequence[Reference]],
    *,
    graded: bool = False,
    allow_extra: bool = False,
) -> Entries:
    """Every method's prediction for every reference, by name.

    Args:
        predictions: method -> file, folder or pattern.
        references: what ``references_in`` or ``references_of`` found.
        graded: the predictions are probability maps that will get a threshold.
        allow_extra: predictions of cases that have no reference are left aside with a note, not refused.

    Raises:
        DataError: names that are ambiguous, do not fit at all, or fit no reference (without ``allow_extra``).
    """
    found, listed = references
    entries: list[Entry] = []
    notes = _left_aside("references", found.left_aside)
    for method, where in predictions.items():
        theirs = find_masks(where, graded=graded)
        matched = match(_in_their_words(found, theirs), theirs)
        notes += _left_aside(method, theirs.left_aside)
        if matched.extra and not allow_extra:
            raise DataError(
                where,
                found=f"{len(matched.extra)} predictions without a reference: {_some(matched.extra)}",
                expected=f"a reference in {found.where} for each of {len(theirs.files)} predictions",
                remedy="add the references, take the predictions away, or leave them aside with --allow-extra",
            )
        if matched.extra:
            notes.append(f"{method}: {len(matched.extra)} predictions without a reference: {_some(matched.extra)}")
        paths = [None if one is None else one.path for one in matched.partners]
        entries += [Entry(method, case, path) for case, path in zip(listed, paths, strict=True)]
    dataset = listed[0].dataset
    return Entries(tuple(entries), Path(found.where), dataset, tuple(notes))


def entries_of_table(path: Path, *, method: str | None = None) -> Entries:
    """The pairs of a table: columns case, prediction, reference; optional image, subject, site, scanner, method.

    Paths are relative to the table; several masks of one reference are separated by semicolons and united. An empty
    prediction is a missing one, and so is a case that another method has.

    Args:
        path: the table.
        method: what lines without a method are called; None: the table's name.

    Raises:
        DataError: not such a table, a case without a reference, twice for one method, or with two references.
    """
    needed = ("case", "prediction", "reference")
    lines, unused = read_lines(path, needed=needed, known=("image", *_ABOUT, "method"))
    wrong = next((line for line in lines if not line["case"] or not line["reference"]), None)
    if wrong is not None or not lines:
        raise DataError(
            path,
            found="no line below the header" if wrong is None else f"a line without case or reference: {dict(wrong)}",
            expected="a case and a reference in every line; an empty prediction is a missing one",
            remedy="complete the table",
        )
    references: dict[str, Reference] = {}
    given: dict[tuple[str, str], Path | None] = {}
    for line in lines:
        case, name = line["case"], line.get("method") or method or path.stem
        reference = _of_line(line, path.parent)
        if (name, case) in given or references.setdefault(case, reference).files != reference.files:
            raise DataError(
                path,
                found=f"case {case!r} twice" + (f" for {name}" if (name, case) in given else ", with two references"),
                expected="one line for each method and case, and one reference for all methods",
                remedy="correct the table",
            )
        given[name, case] = path.parent / line["prediction"] if line["prediction"] else None
    methods = dict.fromkeys(name for name, _ in given)
    entries = [Entry(name, case, given.get((name, case.case))) for name in methods for case in references.values()]
    notes = (f"columns of {path.name} that are not read: {', '.join(unused)}",) if unused else ()
    return Entries(tuple(entries), path, path.stem, notes)


def with_participants(found: Entries, path: Path) -> Entries:
    """The same entries with sites and scanners from a participants table; cases that it does not list keep theirs.

    Raises:
        DataError: not such a table, or it lists none of the persons.
    """
    people = read_participants(path)
    persons = {entry.reference.subject for entry in found.entries}
    unknown = sorted(person for person in persons if _line(people, person) is None)
    if len(unknown) == len(persons):
        raise DataError(
            path,
            found=f"{', '.join(list(people)[:3])} ...",
            expected=f"the persons scored: {', '.join(unknown[:3])} ...",
            remedy="participant_id must be the sub- part of the file names",
        )

    def told(reference: Reference) -> Reference:
        line = _line(people, reference.subject) or {}
        site, scanner = line.get("site") or reference.site, line.get("scanner") or reference.scanner
        return replace(reference, site=site, scanner=scanner)

    entries = tuple(replace(entry, reference=told(entry.reference)) for entry in found.entries)
    missing = (f"not in {path.name}: {_some(unknown)}",) if unknown else ()
    return replace(found, entries=entries, notes=(*found.notes, *missing))


def methods_of(first: str | Path, name: str | None, beside: Sequence[str]) -> dict[str, str | Path]:
    """Method -> place, from the command line: the first one's name is that of its folder unless one is given.

    Raises:
        ConfigError: ``beside`` is not NAME=PLACE, or a name is used twice.
    """
    path = Path(first)
    own = name or (stem(path) if path.is_file() else path.resolve().name)
    pairs = [(own, first)]
    for text in beside:
        label, equals, place = text.partition("=")
        if not (label and equals and place):
            raise ConfigError(
                "--beside", found=repr(text), expected="NAME=FOLDER", remedy="e.g. --beside nnunet=results/nnunet"
            )
        pairs.append((label, place))
    methods = dict(pairs)
    if len(methods) < len(pairs):
        raise ConfigError(
            "--name, --beside",
            found=f"the names {[label for label, _ in pairs]}",
            expected="a name of its own for each method",
            remedy="name the first method with --name",
        )
    return methods


def _described(reference: Reference, person: str) -> Reference:
    """With the subject and the cohort that an id tells, where nothing else did."""
    subject = reference.subject or (person if person.startswith("sub-") else reference.case)
    atlas = re.fullmatch(r"sub-(r\d+)s\d+", subject, re.IGNORECASE)
    return replace(reference, subject=subject, site=reference.site or (atlas[1].upper() if atlas else None))


def _of_case(case: Case, dataset: str) -> Reference:
    images = (case.reference_image, *(path for path in case.images.values() if path != case.reference_image))
    return Reference(
        case=case.case_id,
        files=case.lesions,
        subject=case.subject_id,
        site=case.site,
        scanner=scanner_of(case) or None,
        dataset=dataset,
        scan=case.reference_image,
        images=images,
    )


def _of_line(line: Line, folder: Path) -> Reference:
    files = tuple(LesionFile(folder / name.strip()) for name in line["reference"].split(";") if name.strip())
    images = (folder / line["image"],) if line.get("image") else ()
    site, scanner = line.get("site") or None, line.get("scanner") or None
    subject = line.get("subject", "")
    reference = Reference(line["case"], files, subject=subject, site=site, scanner=scanner, images=images)
    return _described(reference, read_name(Path(line["case"])).person)


def _in_their_words(references: Found, predictions: Found) -> Found:
    """References of free names as ``strokelab predict`` calls them, where the predictions have BIDS names."""
    if not any(one.name.person.startswith("sub-") for one in predictions.files):
        return references
    files = tuple(
        one
        if one.name.person.startswith("sub-")
        else replace(one, name=replace(one.name, person=f"sub-{bids_entities(one.name.person)['sub']}"))
        for one in references.files
    )
    return replace(references, files=files)


def _images_by_name(masks: Sequence[Named], folder: Path) -> list[tuple[Path, ...]]:
    """For each mask the scans in a folder that can be of its case: BIDS names that fit, or ``<case>_0000`` etc."""
    own = {one.path.resolve() for one in masks}
    paths = [path for path in nifti_files(folder) if path.resolve() not in own]
    scans = [Named(path, name) for path, name in zip(paths, read_names(paths, folder), strict=True)]
    scans = [one for one in scans if one.name.kind == "image"] or [one for one in scans if one.name.kind == "mask"]
    persons = {one.name.person.casefold() for one in masks}
    of_person: dict[str, list[Named]] = {}
    for scan in scans:
        of_person.setdefault(_owner(scan.name.person.casefold(), persons), []).append(scan)
    return [
        tuple(scan.path for scan in of_person.get(mask.name.person.casefold(), ()) if _same_scan(mask, scan))
        for mask in masks
    ]


def _owner(words: str, persons: Container[str]) -> str:
    """The longest beginning of a name, cut between words, that is a person's; "" when none is."""
    while words and words not in persons:
        words = re.sub(r"(^|[_.-]+)[^_.-]*$", "", words)
    return words


def _same_scan(mask: Named, scan: Named) -> bool:
    return all(scan.name.entities.get(key, value) == value for key, value in mask.name.entities.items())


def _line(people: Mapping[str, Line], subject: str) -> Line | None:
    return people.get(subject) or people.get(f"sub-{subject}")


def _left_aside(whose: str, files: Sequence[Path]) -> list[str]:
    return [f"{whose}: {len(files)} files are called like images or other maps: {_some(files)}"] if files else []


def _some(things: Iterable[object], most: int = 5) -> str:
    texts = [str(thing) for thing in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
