"""What is to be scored: from folders whose names are matched, or from a table of pairs. Opens no image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from strokelab.contract import LesionFile
from strokelab.errors import ConfigError, DataError
from strokelab.inference.bids_names import bids_entities
from strokelab.nifti import stem
from strokelab.scoreboard.finding import Found, find_masks
from strokelab.scoreboard.lists import ROW, Line, read_lines, read_participants
from strokelab.scoreboard.matching import match
from strokelab.scoreboard.names import read_name
from strokelab.scoreboard.references import described
from strokelab.scoreboard.score import Entry, Reference

_ABOUT = ("subject", "site", "scanner")


@dataclass(frozen=True)
class Entries:
    """Everything to be scored, and what has to be said about how it was found."""

    entries: tuple[Entry, ...]
    where: Path  # of the references, or the table
    dataset: str
    notes: tuple[str, ...] = ()


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
        references: what ``references.references_in`` or ``references_of`` found.
        graded: the predictions are probability maps that will get a threshold.
        allow_extra: predictions of cases that have no reference are left aside with a note, not refused.

    Raises:
        DataError: names that are ambiguous, do not fit at all, or fit no reference (without ``allow_extra``).
    """
    found, listed = references
    entries: list[Entry] = []
    notes = [*found.aside("references")]
    for method, where in predictions.items():
        theirs = find_masks(where, graded=graded)
        matched = match(_in_their_words(found, theirs), theirs)
        notes += theirs.aside(method)
        extra = [one.path for one in matched.extra]
        if extra and not allow_extra:
            raise DataError(
                where,
                found=f"{len(extra)} predictions without a reference: {_some(extra)}",
                expected=f"a reference in {found.where} for each of {len(theirs.files)} predictions",
                remedy="add the references, take the predictions away, or leave them aside with --allow-extra",
            )
        if extra:
            notes.append(f"{method}: {len(extra)} predictions without a reference: {_some(extra)}")
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
        DataError: not such a table, a case without a reference, twice for one method, or with two
            references, subjects, sites or scanners.
    """
    needed = ("case", "prediction", "reference")
    lines, unused = read_lines(path, needed=needed, known=("image", *_ABOUT, "method"))
    wrong = next((line for line in lines if not line["case"] or not line["reference"]), None)
    if wrong is not None or not lines:
        raise DataError(
            path,
            found="no line below the header"
            if wrong is None
            else f"row {wrong[ROW]} without {'a reference' if wrong['case'] else 'a case'}",
            expected="a case and a reference in every line; an empty prediction is a missing one",
            remedy="complete the table",
        )
    references: dict[str, Reference] = {}
    given: dict[tuple[str, str], Path | None] = {}
    rows: dict[str, str] = {}
    for line in lines:
        case, name = line["case"], line.get("method") or method or path.stem
        reference = _of_line(line, path.parent)
        known = references.setdefault(case, reference)
        if (name, case) in given or replace(known, images=()) != replace(reference, images=()):
            raise DataError(
                path,
                found=f"case {case!r} in row {rows[case]} and in row {line[ROW]}, "
                + (f"twice for {name}" if (name, case) in given else "described in two ways"),
                expected="one line for each method and case; one reference, subject, site and scanner for all methods",
                remedy="correct the table",
            )
        references[case] = known if known.images else reference
        rows[case] = line[ROW]
        given[name, case] = path.parent / line["prediction"] if line["prediction"] else None
    methods = dict.fromkeys(name for name, _ in given)
    entries = [Entry(name, case, given.get((name, case.case))) for name in methods for case in references.values()]
    notes = (f"columns of {path.name} that are not read: {', '.join(unused)}",) if unused else ()
    return Entries(tuple(entries), path, path.stem, notes)


def with_participants(found: Entries, path: Path) -> Entries:
    """The same entries with sites and scanners from a participants table; cases that it does not list keep theirs.

    Raises:
        DataError: not such a table, or it lists none of the subjects.
    """
    people = read_participants(path)
    subjects = {entry.reference.subject for entry in found.entries}
    unknown = sorted(subject for subject in subjects if _line(people, subject) is None)
    if len(unknown) == len(subjects):
        raise DataError(
            path,
            found=f"{', '.join(list(people)[:3])} ...",
            expected=f"the subjects scored: {', '.join(unknown[:3])} ...",
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


def _of_line(line: Line, folder: Path) -> Reference:
    files = tuple(LesionFile(folder / name.strip()) for name in line["reference"].split(";") if name.strip())
    images = (folder / line["image"],) if line.get("image") else ()
    site, scanner = line.get("site") or None, line.get("scanner") or None
    subject = line.get("subject", "")
    reference = Reference(line["case"], files, subject=subject, site=site, scanner=scanner, images=images)
    return described(reference, read_name(Path(line["case"])).subject)


def _in_their_words(references: Found, predictions: Found) -> Found:
    """References of free names as ``strokelab predict`` calls them, where the predictions have BIDS names."""
    subjects = {one.name.subject.casefold() for one in predictions.files}
    if not any(subject.startswith("sub-") for subject in subjects):
        return references

    def theirs(subject: str) -> str:
        marked, bare = f"sub-{bids_entities(subject)['sub']}", "sub-" + re.sub(r"[^A-Za-z0-9]", "", subject)
        return bare if bare.casefold() in subjects and marked.casefold() not in subjects else marked  # earlier versions

    files = tuple(
        one
        if one.name.subject.startswith("sub-")
        else replace(one, name=replace(one.name, subject=theirs(one.name.subject)))
        for one in references.files
    )
    return replace(references, files=files)


def _line(people: Mapping[str, Line], subject: str) -> Line | None:
    return people.get(subject) or people.get(f"sub-{subject}")


def _some(things: Iterable[object], most: int = 5) -> str:
    texts = [str(thing) for thing in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
