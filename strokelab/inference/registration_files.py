"""How a scan was brought into a template's space, as files beside its prediction: ITK's text form and JSON.

``from-T1w_to-MNI152NLin2009aSym_mode-image_xfm``, as BIDS names transforms: it brings the image onto the template.
ANTs, 3D Slicer, ITK-SNAP and SimpleITK read the text file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Prediction, Registered
from strokelab.errors import DataError
from strokelab.files import write_text
from strokelab.nifti import stem

QC = "desc-registration.png"
SIDECAR = "label-lesion_mask.json"
_SPACES = {"mni152": "MNI152NLin2009aSym"}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's world: x and y run the other way

OLD = ("*_xfm.txt", "*_xfm.json", QC, SIDECAR)
"""What may lie beside a mask, as patterns."""


def beside(prediction: Prediction, path_of: Callable[[str], Path], more: Mapping[str, str]) -> list[Path]:
    """Write what was done to a scan: JSON of its mask, and its transforms where it was registered.

    Args:
        prediction: the case's.
        path_of: what a name ends in -> the file.
        more: what the JSON of the mask says besides.
    """
    done = {"Type": "Lesion", "Preparation": prediction.provenance.get("preparation", ""), **more}
    content: dict[str, Any] = {SIDECAR: done | {"Registration": [facts(one) for one in prediction.registered]}}
    for registered in prediction.registered:
        content |= dict(transform_files(registered))
    written = []
    for suffix, made in content.items():
        written.append(path_of(suffix))
        write_text(written[-1], made if isinstance(made, str) else json.dumps(made, indent=2) + "\n")
    return written


@dataclass(frozen=True)
class Recorded:
    """What lies beside a mask of how its scan was registered."""

    in_template: NDArray[np.float64]  # (4, 4), from the scan to the template, both RAS+ mm
    overlap: float  # Dice of the brains


def recorded(mask: Path) -> Recorded | None:
    """How the scan of a mask was registered; None: it was not.

    Raises:
        DataError: the file beside the mask cannot be read.
    """
    path = mask.with_name(stem(mask) + ".json")
    if not path.is_file():
        return None
    try:
        made = json.loads(path.read_text(encoding="utf-8")).get("Registration") or []
        if not made:
            return None
        matrix = np.asarray(made[0]["ScanToTemplateRAS"], dtype=np.float64).reshape(4, 4)
        return Recorded(matrix, float(made[0]["BrainOverlapDice"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            path,
            found=f"no record of a registration ({type(error).__name__})",
            expected="the file that strokelab wrote beside the mask",
            remedy="put it back as it was, or predict the case again",
        ) from error


def transform_files(registered: Registered) -> Iterator[tuple[str, str | dict[str, Any]]]:
    """The files of a transform: what their names end in, and their content, text or plain data."""
    space = _SPACES.get(registered.to, registered.to)
    label = re.sub(r"[^A-Za-z0-9]", "", registered.image) or "scan"
    name = f"from-{label}_to-{space}_mode-image_xfm"
    matrix = np.asarray(registered.transform, dtype=np.float64)
    yield f"{name}.txt", itk_text(matrix)
    yield f"{name}.json", facts(registered) | {"Description": "Affine; points of the scan to points of the template."}


def facts(registered: Registered) -> dict[str, Any]:
    """A registration as plain data."""
    content: dict[str, Any] = asdict(registered)
    matrix = np.asarray(registered.transform, dtype=np.float64)
    return {
        "Template": _SPACES.get(registered.to, registered.to),
        "Image": registered.image,
        "ScanToTemplateRAS": matrix.tolist(),
        "TemplateToScanRAS": np.linalg.inv(matrix).tolist(),
        "MutualInformation": -content["metric"],
        "MutualInformationAtStart": -content["start"],
        "InformationInBrain": content["information"],
        "Correlation": content["correlation"],
        "BrainOverlapDice": content["overlap"],
        "BrainOutsideFieldOfView": content["outside"],
        "VolumeFactor": content["volume_factor"],
        "Seconds": round(content["seconds"], 2),
    }


def itk_text(matrix: NDArray[np.float64]) -> str:
    """ITK's affine transform of a matrix (4, 4) from the scan to the template, both RAS+ mm.

    ITK's points go from the template to the scan, in LPS+ mm: that is the way an image is resampled.
    """
    points = _LPS @ np.linalg.inv(matrix) @ _LPS
    numbers = " ".join(f"{value:.17g}" for value in (*points[:3, :3].ravel(), *points[:3, 3]))
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n"
    )
