"""What a table of predictions says of one case. Knows files, no predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strokelab.files import file_digest


@dataclass(frozen=True)
class SavedPrediction:
    """One row of ``lesions.tsv``; the last three columns are empty in tables of earlier versions."""

    case_id: str
    mask: Path
    volume_ml: float
    lesions: int  # connected components, 26 neighbours
    image: str = ""  # whose grid the mask has, relative to the derivative
    digest: str = ""  # of the mask file as it was written
    made_by: int = 0  # which entry of GeneratedBy in dataset_description.json, from 1
    preparation: str = ""  # what was done to the scan before, e.g. "resampled 2x2x2 -> 4x4x4 mm"

    def edited(self) -> bool:
        """Whether the mask is another file than the one written."""
        return bool(self.digest) and self.mask.is_file() and file_digest(self.mask) != self.digest
