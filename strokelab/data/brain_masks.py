"""The brain mask that lies beside a scan, known by its name, as BIDS derivatives have it. Opens no image."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

from strokelab.data.readers._names import contrast_said
from strokelab.nifti import stem

_ENDS = ("_desc-brain_mask", "_brain_mask", "_brainmask")


def brain_beside(image: Path) -> Path | None:
    """The brain mask of an image, in its folder; None where there is none.

    ``sub-1_T1w`` and ``sub-1_desc-preproc_T1w`` have ``sub-1_desc-brain_mask``; any ``scan`` or ``scan_T1w`` has
    ``scan_brain_mask`` or ``scan_brainmask``.
    """
    name = stem(image)
    before, _, last = name.rpartition("_")
    begins = [name, *([before, re.sub(r"_desc-[^_]+", "", before)] if before and contrast_said(last) else [])]
    names = (f"{begin}{end}{ending}" for begin, end, ending in product(begins, _ENDS, (".nii.gz", ".nii")))
    return next((file for file in map(image.parent.joinpath, names) if file.is_file()), None)
