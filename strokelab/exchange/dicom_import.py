"""``strokelab dicom``: a folder of DICOM series to a BIDS dataset. Chooses series, says why, writes no name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from strokelab.errors import ConfigError, DataError, StrokelabError
from strokelab.exchange.dicom_contrast import FOLDERS, Verdict, contrast_of
from strokelab.exchange.dicom_convert import SAME_B, convert, program
from strokelab.exchange.dicom_series import Series, Slice, series_of
from strokelab.files import file_digest, make_folder, write_json, write_text
from strokelab.foreign_text import printable
from strokelab.nifti import stem
from strokelab.preparation.progress import advancing, bar

_DESCRIPTION, _PARTICIPANTS = "dataset_description.json", "participants.tsv"
_README = "Scans converted from DICOM by strokelab. Faces were not removed.\n"


@dataclass(frozen=True)
class Wishes:
    """What of a folder is wanted, and how it is to be called.

    Args:
        subject: label of the one subject; "": running numbers, in the order of the files.
        session: label of the one session; "": none for a subject with one study, else running numbers by date.
        contrasts: some of ``dicom_contrast.FOLDERS``; none: all.
        take: contrast -> number of the series that is taken where several show it.
        leave_out: numbers of series that are left out.
        runs: keep all series of a contrast, as ``run-1``, ``run-2``, in the order of their numbers.
    """

    subject: str = ""
    session: str = ""
    contrasts: Sequence[str] = ()
    take: Mapping[str, int] = field(default_factory=dict)
    leave_out: Sequence[int] = ()
    runs: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in (*self.contrasts, *self.take) if name not in FOLDERS]
        if unknown:
            raise ConfigError(
                "--contrast, --take",
                found=", ".join(unknown),
                expected=f"some of {', '.join(FOLDERS)}",
                remedy="correct the spelling; upper and lower case count",
            )
        for option, text in (("--subject", self.subject), ("--session", self.session)):
            if text and not (text.isascii() and text.isalnum()):
                plain = "".join(letter for letter in text if letter.isascii() and letter.isalnum()) or "01"
                raise ConfigError(
                    option,
                    found=repr(text),
                    expected="letters and digits alone, as BIDS has them",
                    remedy=f"{option} {plain}",
                )


@dataclass(frozen=True)
class Taken:
    """One series, whose it is by its new labels, what it shows, and what becomes of it."""

    series: Series
    subject: str
    session: str
    verdict: Verdict
    run: int = 0  # 0: the only one of its contrast

    @property
    def path(self) -> Path | None:
        """Where it goes, relative to the dataset; None: it is left out."""
        if not self.verdict.contrast:
            return None
        folder, suffix = FOLDERS[self.verdict.contrast]
        session = [f"ses-{self.session}"] if self.session else []
        *entities, last = suffix.split("_")
        words = [f"sub-{self.subject}", *session, *entities, *([f"run-{self.run}"] if self.run else []), last]
        return Path(f"sub-{self.subject}", *session, folder, "_".join(words) + ".nii.gz")

    def left_out(self, why: str) -> Taken:
        """The same, not taken."""
        return replace(self, verdict=Verdict("", why), run=0)

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Of a diffusion series those of the highest b value, else all."""
        if self.verdict.contrast != "DWI" or not self.series.b_values:
            return self.series.slices
        return self.series.from_b(SAME_B * self.series.b_values[-1])


def import_dicom(root: Path, out: Path, wishes: Wishes, *, list_only: bool, console: Console) -> Path:
    """Convert the series of a folder that show a contrast of stroke imaging into a BIDS dataset.

    Args:
        root: searched at all depths.
        out: the dataset; subjects are added to one that ``strokelab dicom`` wrote.
        wishes: what is wanted.
        list_only: print what would be taken; write nothing.
        console: where to print.

    Returns:
        ``out``.

    Raises:
        DataError: nothing is DICOM, a file is encrypted, or ``out`` is another dataset.
        ConfigError: at least one series could not be taken; the others are done.
    """
    program()
    series, strays = series_of(root)
    _check_out(out)
    every = [_judged(one, wishes) for one in _labelled(series, wishes, out)]
    taken, errors = _chosen(every, wishes)
    _print(taken, strays, console)
    wanted = [one for one in taken if one.path is not None]
    if not list_only:
        errors += _write(wanted, out, console)
    for error in errors:
        console.print("[red]not taken:[/] ", end="")
        console.print(printable(str(error)), markup=False, highlight=False, soft_wrap=True)
    if errors or not wanted:
        raise ConfigError(
            root,
            found=f"{len(errors)} problems" if errors else f"{len(series)} series, none of a contrast that is wanted",
            expected=f"one whole series of each contrast ({', '.join(wishes.contrasts or FOLDERS)})",
            remedy="see the table and the messages above; all other series are done",
        )
    return out


def _labelled(series: Sequence[Series], wishes: Wishes, out: Path) -> list[Taken]:
    """The series with new labels of their subjects and sessions.

    Raises:
        ConfigError: one label is given for several subjects or studies.
    """
    subjects = list(dict.fromkeys(one.subject for one in series))
    studies = {who: sorted({one.study for one in series if one.subject == who}) for who in subjects}
    if wishes.subject and len(subjects) > 1:
        raise ConfigError(
            "--subject",
            found=f"one label, and series of {len(subjects)} subjects",
            expected="a folder of one subject",
            remedy="name the folder of each subject, one by one, or leave out --subject, for running numbers",
        )
    most = max(map(len, studies.values()))
    if wishes.session and most > 1:
        raise ConfigError(
            "--session",
            found=f"one label, and {most} studies of one subject",
            expected="a folder of one study for each subject",
            remedy="name the folder of each study, one by one, or leave out --session, for running numbers",
        )
    used = {path.name.removeprefix("sub-") for path in out.glob("sub-*")}
    free = (f"{number:02d}" for number in range(1, 10**6) if f"{number:02d}" not in used)
    label = {who: wishes.subject or next(free) for who in subjects}

    def session(one: Series) -> str:
        several = len(studies[one.subject]) > 1
        return wishes.session or (str(studies[one.subject].index(one.study) + 1) if several else "")

    found = [Taken(one, label[one.subject], session(one), contrast_of(one)) for one in series]
    return sorted(found, key=lambda one: (one.subject, one.session, one.series.number))


def _judged(one: Taken, wishes: Wishes) -> Taken:
    if one.verdict.contrast and one.series.number in wishes.leave_out:
        return one.left_out("left out by --leave-out")
    if one.verdict.contrast and wishes.contrasts and one.verdict.contrast not in wishes.contrasts:
        return one.left_out(f"{one.verdict.contrast}, which is not asked for")
    return one


def _chosen(every: Sequence[Taken], wishes: Wishes) -> tuple[list[Taken], list[StrokelabError]]:
    """Of each contrast in a session one series, or all as runs; what several show without a rule is an error."""
    groups: dict[tuple[str, str, str], list[Taken]] = {}
    for one in every:
        groups.setdefault((one.subject, one.session, one.verdict.contrast), []).append(one)
    fate: dict[str, Taken] = {}
    errors: list[StrokelabError] = []
    for (subject, session, contrast), group in groups.items():
        found = group
        traces = [one for one in group if one.verdict.trace]
        if contrast == "DWI" and traces and len(traces) < len(group):
            fate |= {one.series.uid: one.left_out("its trace is taken") for one in group if one not in traces}
            found = traces
        if contrast in wishes.take and len(found) > 1:
            number = wishes.take[contrast]
            fate |= {one.series.uid: one.left_out("another is named by --take") for one in found}
            found = [one for one in found if one.series.number == number]
        if contrast and len(found) > 1 and not wishes.runs:
            errors.append(_several(subject, session, contrast, found))
            fate |= {one.series.uid: one.left_out(f"one of {len(found)} of {contrast}") for one in found}
        elif contrast and len(found) > 1:
            fate |= {one.series.uid: replace(one, run=run) for run, one in enumerate(found, start=1)}
        else:
            fate |= {one.series.uid: one for one in found}
    return [fate[one.series.uid] for one in every], errors


def _several(subject: str, session: str, contrast: str, found: Sequence[Taken]) -> ConfigError:
    return ConfigError(
        f"sub-{subject}" + (f" ses-{session}" if session else ""),
        found=f"{len(found)} series of {contrast}: {', '.join(one.series.named() for one in found)}",
        expected="one series of each contrast",
        remedy=f"--take {contrast}={found[0].series.number} takes that one, --runs keeps all as run-1, run-2, ..., "
        f"--leave-out {found[-1].series.number} leaves one out",
    )


def _write(wanted: Sequence[Taken], out: Path, console: Console) -> list[StrokelabError]:
    """Convert what was chosen; what cannot be is returned."""
    errors: list[StrokelabError] = []
    before = sorted(out.glob("sub-*/**/*.nii.gz"))
    with bar("Converting series", len(wanted), shown=True, console=console) as shown:
        for one in advancing(shown, wanted):
            try:
                _write_one(one, out, before)
            except StrokelabError as error:  # one damaged series must not cost the others
                errors.append(error)
    subjects = sorted(path.name for path in out.glob("sub-*"))
    if subjects:
        write_text(out / _PARTICIPANTS, "\n".join(["participant_id", *subjects]) + "\n")
        if not (out / "README").exists():
            write_text(out / "README", _README)
        write_json(
            out / _DESCRIPTION,
            {
                "Name": "Converted from DICOM",
                "BIDSVersion": "1.10.0",
                "DatasetType": "raw",
                "GeneratedBy": [{"Name": "strokelab dicom"}],
            },
        )
    return errors


def _write_one(one: Taken, out: Path, before: Sequence[Path]) -> None:
    path = one.path
    assert path is not None
    if (out / path).exists():
        raise DataError(
            out / path,
            found="a scan that is there already",
            expected="a new subject or session",
            remedy="choose another --subject or --session, or another folder",
        )
    one.series.check(one.slices)
    make_folder((out / path).parent)
    convert(one.series, one.slices, out / path, mean=one.verdict.contrast == "DWI")
    size, made = (out / path).stat().st_size, file_digest(out / path)
    if twin := next((file for file in before if file.stat().st_size == size and file_digest(file) == made), None):
        for file in (out / path, (out / path).with_name(stem(path) + ".json")):
            file.unlink(missing_ok=True)
        _remove_empty(out, path)
        raise DataError(
            one.series.named(),
            found=f"the same image as {twin.relative_to(out)}",
            expected="studies that are not in the dataset yet: one subject under two labels could train and test",
            remedy="leave the folder out; or remove the subject that is there, and convert again",
        )


def _remove_empty(out: Path, path: Path) -> None:
    """The folders of a file that has gone, as far as nothing else is in them."""
    for folder in [out / parent for parent in path.parents if parent != Path()]:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def _check_out(out: Path) -> None:
    """Whether the folder is new, empty, or one of ``strokelab dicom``.

    Raises:
        DataError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        makers = json.loads((out / _DESCRIPTION).read_text(encoding="utf-8"))["GeneratedBy"]
        if makers[0]["Name"] == "strokelab dicom":
            return
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        pass
    raise DataError(
        out,
        found="a folder of something else",
        expected="a new folder, or a dataset that strokelab dicom wrote",
        remedy="choose another folder; nothing foreign is written into",
    )


def _print(taken: Sequence[Taken], strays: Mapping[Path, str], console: Console) -> None:
    """What is taken as what, and what is left out and why. Names of subjects are not in it."""
    table = Table("subject", "session", "series", "description", "slices", "taken as", "why")
    for one in taken:
        why = one.verdict.why + (", compressed with a loss" if one.series.lossy else "")
        name = one.verdict.contrast + (f" (run {one.run})" if one.run else "") or "[dim]left out[/]"
        words = printable(one.series.description).replace("[", "\\[")
        cells = (one.subject, one.session or "–", str(one.series.number), words, str(one.series.places), name, why)
        table.add_row(*cells)
    console.print(table)
    counts: dict[str, int] = {}
    for why in strays.values():
        counts[why] = counts.get(why, 0) + 1
    for why, count in counts.items():
        console.print(f"{count} files left out: {why}", markup=False, highlight=False)
