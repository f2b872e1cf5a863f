"""Predictions as a BIDS derivative: names, ``dataset_description.json``, a table of lesion volumes.

Knows predictions and files; plots nothing and knows no run folders. The table is the memory of the folder: which
case each mask belongs to, of which image, and the digest it had when it was written. It is written anew after every
case, under a lock, so that an interrupted or a second process loses nothing.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from importlib.metadata import version
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from strokelab.contract import Prediction
from strokelab.errors import DataError, StrokelabError
from strokelab.files import file_digest, locked, make_folder, replacing, write_json, write_text
from strokelab.inference.bids_names import bids_entities, bids_path, datatype_of
from strokelab.inference.class_files import LABELS, class_maps, sidecar, suffixes_of, write_maps
from strokelab.inference.registration_files import OLD, beside
from strokelab.inference.saved import SavedPrediction
from strokelab.lesions import count_lesions
from strokelab.nifti import is_volume, write_volume

TABLE = "lesions.tsv"
_NONE = "n/a"  # as BIDS says of a value that is not there
_COLUMNS = ("case", "volume_ml", "lesions", "mask", "preparation", "image", "digest", "made_by")
DESCRIPTION = "dataset_description.json"
_IGNORED = (TABLE, "*_desc-qc.png", "*_desc-*Qc.png", "group_*.tsv", "*.html")  # what BIDS has no names for
_LOCK = ".lesions.lock"
_MASK, _PROBABILITY = "label-lesion_mask.nii.gz", "label-lesion_probseg.nii.gz"
_CLASS = "label-class{}_probseg.nii.gz"  # of classes without names, counted from 0
_DISAGREEMENT, QC = "label-lesion_desc-disagreement_probseg.nii.gz", "desc-qc.png"


class Derivative:
    """A folder that predictions are written into, one by one; what lies there already stays.

    Args:
        folder: created when absent.
        name: the ``Name`` of the derivative.
        provenance: what made the predictions; written into ``dataset_description.json`` with the first of them.
        probabilities: also write the lesion probability maps.
        overwrite: replace the files of a case that was predicted before.

    Raises:
        DataError: the folder cannot be written to, or is another dataset's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        provenance: Mapping[str, str],
        probabilities: bool = True,
        overwrite: bool = False,
    ) -> None:
        self.folder = make_folder(folder)
        self.name = name
        self.probabilities = probabilities
        self.overwrite = overwrite
        self._generated_by = {
            "Name": "strokelab",
            "Version": version("strokelab"),
            "Parameters": dict(provenance),
        }
        self._claimed: dict[str, str] = {}  # name of a mask, lower case -> case
        self._makers()  # another dataset's description is found before anything is computed

    def rows(self) -> dict[str, SavedPrediction]:
        """What the table lists by case; cases that failed are not among them.

        Raises:
            DataError: the table cannot be read.
        """
        return self._read()[0]

    def failed(self) -> dict[str, str]:
        """Cases that could not be predicted, each with what was found."""
        reason = _COLUMNS.index("preparation")
        return {case: line[reason].removeprefix("failed: ") for case, line in self._read()[1].items()}

    def _read(self) -> tuple[dict[str, SavedPrediction], dict[str, list[str]]]:
        """What the table lists: cases that are there, and the lines of those that failed."""
        path = self.folder / TABLE
        if not path.is_file():
            return {}, {}
        try:
            lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t"))
            failed = {line["case"]: [line[name] for name in _COLUMNS] for line in lines if line["mask"] == _NONE}
            return {line["case"]: self._row(line) for line in lines if line["case"] not in failed}, failed
        except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                path,
                found=f"a table that cannot be read ({type(error).__name__}: {error})",
                expected="the table of an earlier prediction into this folder",
                remedy="put it back as it was, or choose another output folder",
            ) from error

    def made(self, row: SavedPrediction) -> bool:
        """Whether the same run with the same settings made a row."""
        makers = self._makers()
        return 0 < row.made_by <= len(makers) and makers[row.made_by - 1] == self._generated_by

    def path_of(self, case_id: str, suffix: str, modality: str = "") -> Path:
        """Where a file of a case goes, e.g. ``sub-x/ses-1/anat/sub-x_ses-1_<suffix>``.

        Args:
            case_id: the case.
            suffix: what kind of file, e.g. ``label-lesion_mask.nii.gz``.
            modality: of the image whose grid the file has; it decides on ``anat``, ``dwi`` or ``perf``.

        Raises:
            DataError: the name is another case's.
        """
        return self.folder / bids_path(self._entities(case_id), suffix, datatype_of(modality))

    def write(self, prediction: Prediction, *, image: Path | None = None, modality: str = "") -> SavedPrediction:
        """Write mask, probability, disagreement and classes (where known) of one case on its input's grid, and list it.

        Args:
            prediction: the case's.
            image: the file whose grid that is.
            modality: of this file.

        Raises:
            DataError: the case is there already or its mask is another's (without ``overwrite``), the name is that of
                another image's case, or the files cannot be written.
        """
        case = prediction.case_id
        with locked(self.folder / _LOCK):
            rows = self.rows()
            before = rows.get(_text(case))
            self.check_new([case])
            self.check_images({case: image} if image is not None else {})
            path = self.path_of(case, _MASK, modality)
            written = [path]
            with replacing(path) as fresh:
                write_volume(fresh, prediction.mask, prediction.grid)
                digest = file_digest(fresh)
                if before is None and path.exists() and not self.overwrite and file_digest(path) != digest:
                    raise DataError(
                        path,
                        found=f"a mask that {TABLE} does not list",
                        expected="no such file, or the same mask",
                        remedy="move it, choose another --out, or --overwrite",
                    )
                maps = {
                    _PROBABILITY: prediction.probability if self.probabilities else None,
                    _DISAGREEMENT: prediction.disagreement,
                    **class_maps(prediction.classes, prediction.class_names),
                }
                reference = self._reference(case, image)
                place = partial(self.path_of, case, modality=modality)
                written += write_maps(maps, place, prediction, reference)
                written += beside(prediction, place, reference)
            row = SavedPrediction(
                case,
                path,
                prediction.volume_ml,
                count_lesions(prediction.mask),
                "" if image is None else self._relative(image),
                digest,
                self._maker(),
                prediction.provenance.get("preparation", ""),
            )
            self._list({**rows, _text(case): row})
            if before is not None:
                self._remove_old(before, written)
        return row

    def fail(self, case_id: str, error: StrokelabError, *, image: Path) -> None:
        """List a case that could not be predicted, with what was found; a mask of before stays as it is listed.

        Args:
            case_id: the case.
            error: why.
            image: of the case.
        """
        with locked(self.folder / _LOCK):
            found = " ".join(f"failed: {error.found}".split())
            row = [_text(case_id), _NONE, _NONE, _NONE, _text(found), self._relative(image), _NONE, str(self._maker())]
            self._list(self.rows(), {_text(case_id): row})

    def row_of(self, case_id: str) -> SavedPrediction | None:
        """What the table lists of a case."""
        return self.rows().get(_text(case_id))

    def check_images(self, images: Mapping[str, Path]) -> None:
        """Hold cases against those of the same names that lie there.

        Args:
            images: case -> the image it is about.

        Raises:
            DataError: one that lies there is of another image.
        """
        rows = self.rows()
        for case, image in images.items():
            row = rows.get(_text(case))
            if row is not None and row.image and row.image != self._relative(image):
                raise DataError(
                    self.folder,
                    found=f"case {case!r} of {self.folder / row.image}, another image than {image}",
                    expected="images of one name in one output folder once only",
                    remedy="choose another --out, or rename one of the images",
                )

    def check_new(self, cases: Sequence[str]) -> None:
        """Refuse cases that lie there already, unless they are to be replaced.

        Raises:
            DataError: naming them, and those whose masks were edited since.
        """
        rows = self.rows()
        there = {case: rows[_text(case)] for case in cases if _text(case) in rows}
        if not there or self.overwrite:
            return
        edited = [case for case, row in there.items() if row.edited()]
        raise DataError(
            self.folder,
            found=f"{len(there)} of {len(cases)} cases are there already: {_some(list(there))}"
            + (f"; edited since: {_some(edited)}" if edited else ""),
            expected="cases that are new in this folder",
            remedy="choose another --out; or --resume goes on with those that are missing, --overwrite replaces",
        )

    def finish(self) -> Path:
        """The table of lesion volumes, tab-separated with the columns ``_COLUMNS``."""
        with locked(self.folder / _LOCK):
            self._maker()
            self._list(self.rows())
        return self.folder / TABLE

    def _entities(self, case_id: str) -> dict[str, str]:
        """The case's BIDS entities: marked where they differ from another case's of this folder in capitals alone."""
        owners = {row.mask.name.lower(): case for case, row in self.rows().items()} | self._claimed
        for marked in (False, True):
            entities = bids_entities(case_id, marked=marked)
            name = bids_path(entities, _MASK).rpartition("/")[2].lower()
            if owners.get(name, _text(case_id)) == _text(case_id):
                self._claimed[name] = _text(case_id)
                return entities
        raise DataError(
            self.folder,
            found=f"cases {owners[name]!r} and {case_id!r} with one BIDS name {name!r}",
            expected="a name of its own for each case",
            remedy="rename one of the two",
        )

    def _row(self, line: Mapping[str, str]) -> SavedPrediction:
        known = {field.name: line.get(field.name) or "" for field in fields(SavedPrediction)}
        return SavedPrediction(
            line["case"],
            self.folder / line["mask"],
            float(line["volume_ml"]),
            int(line["lesions"]),
            known["image"],
            known["digest"],
            int(known["made_by"] or 0),
            known["preparation"],
        )

    def _list(self, rows: Mapping[str, SavedPrediction], failed: Mapping[str, list[str]] | None = None) -> None:
        text = io.StringIO()
        others = {case: row for case, row in {**self._read()[1], **(failed or {})}.items() if case not in rows}
        table = csv.writer(text, delimiter="\t", lineterminator="\n")
        table.writerow(_COLUMNS)
        for case, row in rows.items():
            mask = row.mask.relative_to(self.folder).as_posix()
            known = (row.preparation, row.image, row.digest, row.made_by or "")
            table.writerow([case, f"{row.volume_ml:.3f}", row.lesions, mask, *known])
        table.writerows(others.values())
        write_text(self.folder / TABLE, text.getvalue())

    def _makers(self) -> list[dict[str, Any]]:
        """What made the predictions that lie here, by ``dataset_description.json``.

        Raises:
            DataError: the folder is another dataset's.
        """
        path = self.folder / DESCRIPTION
        if not path.is_file():
            return []
        try:
            makers: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["GeneratedBy"]
            if all(maker["Name"] == "strokelab" for maker in makers):
                return makers
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise DataError(
            path,
            found="the description of another dataset",
            expected="a folder of its own for predictions",
            remedy=f"choose another output folder, e.g. {self.folder / 'derivatives' / 'strokelab'}",
        )

    def _maker(self) -> int:
        """The number of this run and its settings in ``dataset_description.json``, where it is added if need be."""
        makers = self._makers()
        if self._generated_by not in makers:
            makers.append(self._generated_by)
            content = {"Name": self.name, "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": makers}
            write_json(self.folder / DESCRIPTION, content)
            if not (ignored := self.folder / ".bidsignore").exists():
                write_text(ignored, "".join(f"{pattern}\n" for pattern in _IGNORED))
        return makers.index(self._generated_by) + 1

    def _reference(self, case_id: str, image: Path | None) -> dict[str, str]:
        """What BIDS wants to know of files whose names say a space: the image that they are aligned with."""
        if image is None or "space" not in self._entities(case_id):
            return {}
        return {"SpatialReference": self._relative(image)}

    def _relative(self, image: Path) -> str:
        return _text(Path(os.path.relpath(image.resolve(), self.folder.resolve())).as_posix())

    def _remove_old(self, before: SavedPrediction, written: Sequence[Path]) -> None:
        """Remove what the case had before and has no more, such as maps that were not written again."""
        entities = self._entities(before.case_id)
        suffixes = (_MASK, _PROBABILITY, _DISAGREEMENT, QC)
        old = [self.folder / bids_path(entities, suffix, before.mask.parent.name) for suffix in suffixes]
        classes = (self.folder / bids_path(entities, _CLASS.format(k), before.mask.parent.name) for k in count())
        old += takewhile(Path.exists, classes)
        table = self.folder / bids_path(entities, LABELS, before.mask.parent.name)
        old += (self.folder / bids_path(entities, name, before.mask.parent.name) for name in suffixes_of(table))
        names = [bids_path(entities, suffix, before.mask.parent.name) for suffix in OLD]
        old += (file for name in names for file in self.folder.glob(name))
        old += [sidecar(file) for file in old if is_volume(file)]
        for path in {before.mask, *old}.difference(written):
            path.unlink(missing_ok=True)


def _text(case_id: str) -> str:
    """A case id as the table has it: file names may hold bytes that are no text."""
    return case_id.encode("utf-8", "backslashreplace").decode()


def _some(cases: Sequence[str], most: int = 5) -> str:
    return ", ".join(cases[:most]) + (f" and {len(cases) - most} more" if len(cases) > most else "")
