"""What a scan's file name says of it: a mask, a template, or an image of a contrast. Knows text, opens no file.

Words are read from the end, as BIDS puts its suffix there: the first one that says something decides. BIDS entities
(``space-MNI``) say nothing, but for ``label-``, which only masks have.
"""

from __future__ import annotations

import re
from pathlib import Path

from strokelab.nifti import stem

CONTRASTS = {
    "T1w": "t1w t1 mprage mpr spgr unit1 t1mprage",
    "T1c": "t1c t1ce t1gd t1post",
    "T2w": "t2w t2 t2tse",
    "T2starw": "t2starw t2star t2s gre",
    "FLAIR": "flair t2flair tirm",
    "PD": "pd pdw",
    "PDT2": "pdt2",
    "SWI": "swi swan minip qsm",
    "DWI": "dwi dti b1000",
    "ADC": "adc adcmap",
    "b0": "b0",
    "trace": "trace tracew",
    "DWI map": "dwimap",
    "CT": "ct ncct nect",
    "CTA": "cta",
    "CTP": "ctp",
    "CBF": "cbf rcbf",
    "CBV": "cbv rcbv",
    "TTP": "ttp",
    "Tmax": "tmax",
    "MTT": "mtt",
    "PWI": "pwi dsc",
    "ASL": "asl m0scan",
    "BOLD": "bold sbref",
    "MRA": "angio tof mra",
    "T1map": "t1map t1rho r1map",
    "T2map": "t2map t2starmap r2map r2starmap",
    "fieldmap": "phase phase1 phase2 phasediff magnitude magnitude1 magnitude2 fieldmap epi",
    "PET": "pet",
}
"""Contrast -> the words by which file names say it, in lower case."""

_SAID = {word: contrast for contrast, words in CONTRASTS.items() for word in words.split()}
_MASK = re.compile(
    r"lesion\w*|\w*masks?|msk|d?segs?|segm|segmentations?|aseg|aparc\+aseg|labels?|labelmap|rois?|"
    r"probs?|probseg|probmap|probability|pred|preds|prediction|gt|groundtruth|annotations?"
)
_TEMPLATE = re.compile(r"(standard_?)?(mni|icbm|colin27|avg152|template|tpl-).*", re.IGNORECASE)
_ENTITY = re.compile(r"([A-Za-z]+)-[^_]+")


def contrast_said(word: str) -> str | None:
    """The contrast that a word means, e.g. ``T1w`` for ``mprage``; None for any other word."""
    lower = word.lower()
    return _SAID.get(lower) or _SAID.get(re.sub(r"(?<=[a-z]{3})\d+$", "", lower))


def is_mask(file: Path) -> bool:
    """Whether a file is called like a mask or a map made from one (``_msk``, ``label-L_mask``, ``LesionSmooth``)."""
    return _content(stem(file)) == "mask"


def is_template(file: Path) -> bool:
    """Whether a file is called like the template that datasets bring along (``MNI152NLin2009aSym.nii.gz``)."""
    return _TEMPLATE.fullmatch(stem(file)) is not None


def contrast_of(file: Path) -> str | None:
    """The contrast that the name says, or the folder's whole name where the file's own says none."""
    said = _content(stem(file)) or contrast_said(file.parent.name)
    return None if said == "mask" else said


def _content(name: str) -> str | None:
    """``mask``, a contrast, or None where no word says anything."""
    bids = name.startswith("sub-")
    words = name.split("_")
    entities = {match[1] for match in map(_ENTITY.fullmatch, words) if match} if bids else set()
    if bids:
        words = [word for word in words if not _ENTITY.fullmatch(word)]
    for word in reversed(re.split(r"[_. ]+" if bids else r"[_. -]+", "_".join(words))):
        if _MASK.fullmatch(re.sub(r"\d+$", "", word.lower())) or (word == "OT" and name.startswith("VSD.")):
            return "mask"
        if contrast := contrast_said(word):
            return contrast
    return "mask" if "label" in entities else None
