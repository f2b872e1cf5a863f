"""Predictions as a BIDS derivative: names, ``dataset_description.json``, a table of lesion volumes.

Knows predictions and files; draws no pictures and knows no run folders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from strokelab.contract import Prediction
from strokelab.errors import DataError
from strokelab.files import make_folder, write_json, write_text
from strokelab.lesions import count_lesions
from strokelab.nifti import write_volume

TABLE = "lesions.tsv"
_ENTITY = re.compile(r"(sub|ses|acq|run|space)-([A-Za-z0-9]+)")


@dataclass(frozen=True)
class SavedPrediction:
    """One row of ``lesions.tsv``."""

    case_id: str
    mask: Path
    volume_ml: float
    lesions: int  # connected components, 26 neighbours
    preparation: str = ""  # what was done to the scan before, e.g. "resampled 2x2x2 -> 4x4x4 mm"


class Derivative:
    """A folder that predictions are written into, one by one.

    Args:
        folder: created when absent.
        name: the ``Name`` of the derivative.
        provenance: what made the predictions; written into ``dataset_description.json``.
        probabilities: also write the lesion probability maps.

    Raises:
        DataError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, name: str, provenance: Mapping[str, str], probabilities: bool = True) -> None:
        self.folder = make_folder(folder)
        self.probabilities = probabilities
        self.saved: list[SavedPrediction] = []
        self._stems: dict[str, str] = {}
        write_json(
            folder / "dataset_description.json",
            {
                "Name": name,
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "strokelab", "Version": version("strokelab"), "Parameters": dict(provenance)}],
            },
        )

    def path_of(self, case_id: str, suffix: str) -> Path:
        """Where a file of a case goes, e.g. ``sub-x/ses-1/anat/sub-x_ses-1_<suffix>``."""
        entities = bids_entities(case_id)
        stem = "_".join(f"{key}-{value}" for key, value in entities.items())
        owner = self._stems.setdefault(stem, case_id)
        if owner != case_id:
            raise DataError(
                self.folder,
                found=f"cases {owner!r} and {case_id!r} with one BIDS name {stem!r}",
                expected="names that differ in letters or digits",
                remedy="rename one of the two",
            )
        session = [f"ses-{entities['ses']}"] if "ses" in entities else []
        return self.folder.joinpath(f"sub-{entities['sub']}", *session, "anat", f"{stem}_{suffix}")

    def write(self, prediction: Prediction) -> SavedPrediction:
        """Write mask and probability of one case on its input's grid, and the disagreement of members where known.

        Raises:
            DataError: the files cannot be written, or two cases would share a name.
        """
        path = self.path_of(prediction.case_id, "label-lesion_mask.nii.gz")
        write_volume(path, prediction.mask, prediction.grid)
        if self.probabilities and prediction.probability is not None:
            probability = self.path_of(prediction.case_id, "label-lesion_probseg.nii.gz")
            write_volume(probability, prediction.probability, prediction.grid)
        if prediction.disagreement is not None:
            disagreement = self.path_of(prediction.case_id, "label-lesion_desc-disagreement_probseg.nii.gz")
            write_volume(disagreement, prediction.disagreement, prediction.grid)
        voxels = int(prediction.mask.sum(dtype="int64"))
        volume_ml = voxels * prediction.grid.voxel_volume_mm3 / 1000
        row = SavedPrediction(
            prediction.case_id,
            path,
            volume_ml,
            count_lesions(prediction.mask),
            prediction.provenance.get("preparation", ""),
        )
        self.saved.append(row)
        return row

    def finish(self) -> Path:
        """Write the table of lesion volumes (tab-separated: case, volume_ml, lesions, mask, preparation)."""
        lines = ["case\tvolume_ml\tlesions\tmask\tpreparation"]
        lines += [
            f"{row.case_id}\t{row.volume_ml:.3f}\t{row.lesions}\t{row.mask.relative_to(self.folder).as_posix()}"
            f"\t{row.preparation}"
            for row in self.saved
        ]
        write_text(self.folder / TABLE, "\n".join(lines) + "\n")
        return self.folder / TABLE


def bids_entities(case_id: str) -> dict[str, str]:
    """BIDS entities of a case id: its own where it has them, else one ``sub`` label made of its letters and digits."""
    found = dict(_ENTITY.findall(case_id))
    if "sub" in found:
        order: Sequence[str] = ("sub", "ses", "acq", "run", "space")
        return {key: found[key] for key in order if key in found}
    return {"sub": re.sub(r"[^A-Za-z0-9]", "", case_id) or "case"}
