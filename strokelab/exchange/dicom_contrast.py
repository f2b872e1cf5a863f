"""Which contrast a DICOM series shows, by its name and its parameters; or why it is of no use here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from strokelab.exchange.dicom_series import Series

LEAST_SLICES = 5
FOLDERS = {
    "T1w": ("anat", "T1w"),
    "T1c": ("anat", "ce-gadolinium_T1w"),
    "T2w": ("anat", "T2w"),
    "T2starw": ("anat", "T2starw"),
    "FLAIR": ("anat", "FLAIR"),
    "PD": ("anat", "PDw"),
    "DWI": ("dwi", "trace"),
    "ADC": ("dwi", "ADC"),
}
"""Contrast -> its folder and suffix in BIDS."""

_USELESS = (
    (r"locali[sz]er|(?<![a-z])loc(?![a-z])|scout|survey|3.?plane", "a localizer"),
    (r"(?<![a-z])(mpr|mip|mpvr|reformat|projection)(?![a-z])", "a reformat or projection of another series"),
    (r"(?<![a-z])(swi|swan|venobold|minip|qsm)", "a susceptibility image"),
    (r"perf|(?<![a-z])(pwi|dsc|dce|asl|pcasl|cbf|cbv|mtt|ttp|tmax|rbf)(?![a-z])", "perfusion"),
    (r"(?<![a-z])(tof|mra|mrv|angio|ceangio|pcmra)(?![a-z])", "an angiogram"),
    (r"(?<![a-z])(bold|fmri|rest|task)(?![a-z])|field.?map|(?<![a-z])b0.?map", "a functional series or a field map"),
    (r"screen|report|phoenix|summary", "a report"),
)
_IMAGE_TYPES = {
    "LOCALIZER": "a localizer",
    **dict.fromkeys(("MPR", "REFORMATTED", "PROJECTION IMAGE", "MIP", "MINIMUM"), "a reformat or projection"),
    **dict.fromkeys(("FA", "COLFA", "TENSOR", "EXP", "EADC", "EXPONENTIAL"), "a further map of the diffusion"),
    **dict.fromkeys(("PHASE", "P"), "a phase image"),
    **dict.fromkeys(("CBF", "CBV", "MTT", "TTP", "TMAX", "PERFUSION"), "perfusion"),
}
_DIFFUSION = re.compile(r"dwi|diff|dti|trace|(?<![a-z])b ?= ?\d{3,4}|ep_b\d|(?<![a-z])b\d{3,4}")
_ADC = re.compile(r"(?<![a-z])adc(?![a-z])|apparent")
_FURTHER = re.compile(r"(?<![a-z])(eadc|expadc|exponential|fa|colfa|color.?fa)(?![a-z])")
_FLAIR = re.compile(r"flair|tirm|dark.?fl")
_T2STAR = re.compile(r"t2\*|t2.?star|t2s(?![a-z])|(?<![a-z])(gre|medic|hemo|haemo|merge)(?![a-z])")
_T1 = re.compile(r"(?<![a-z])t1|mprage|mp.?rage|bravo|spgr|(?<![a-z])(tfl3d|vibe)")
_T2 = re.compile(r"(?<![a-z])t2")
_PD = re.compile(r"(?<![a-z])pd(?![a-z])|proton")
_AGENT = re.compile(r"\+ ?c(?![a-z])|(?<![a-z])(gd|gado|gadolinium|post|km|ce|kontrast|contrast)(?![a-z])")


@dataclass(frozen=True)
class Verdict:
    """What a series is taken for; without a contrast, why it is left out."""

    contrast: str
    why: str
    trace: bool = False  # of diffusion: made by the scanner from the directions of another series


def contrast_of(series: Series) -> Verdict:
    """What a series shows. Words of its name and type come first, then b values, then times of the sequence."""
    useless = _useless(series)
    if useless:
        return Verdict("", useless)
    words, kinds = series.words, set(series.image_type)
    if "ADC" in kinds or _ADC.search(words):
        return Verdict("ADC", "a map of the diffusion coefficient")
    trace = "TRACEW" in kinds or "TRACE" in kinds or "trace" in words
    if trace or "DIFFUSION" in kinds or max(series.b_values, default=0) >= 200 or _DIFFUSION.search(words):
        if series.b_values and max(series.b_values) < 200:
            return Verdict("", f"diffusion with b = {max(series.b_values):g} alone")
        return Verdict("DWI", "diffusion", trace)
    by_name = _by_name(series)
    if by_name:
        return Verdict(by_name, "by its name")
    by_times = _by_times(series)
    return Verdict(by_times, "by its times" if by_times else "neither its name nor its times say a contrast")


def _useless(series: Series) -> str:
    if series.modality != "MR":
        return f"of the modality {series.modality or 'unknown'}, not MR"
    kind = next((said for word, said in _IMAGE_TYPES.items() if word in series.image_type), "")
    if kind or _FURTHER.search(series.words):
        return kind or "a further map of the diffusion"
    name = next((said for pattern, said in _USELESS if re.search(pattern, series.words)), "")
    if name:
        return name
    if series.planes > 1:
        return f"slices in {series.planes} directions"
    return f"fewer than {LEAST_SLICES} slices" if series.places < LEAST_SLICES else ""


def _by_name(series: Series) -> str:
    words = series.words
    if _FLAIR.search(words) and not _T1.search(words):  # GE has a T1 FLAIR, which is a T1w
        return "FLAIR"
    if _T2STAR.search(words):
        return "T2starw"
    if _T1.search(words):
        return "T1c" if series.agent or _AGENT.search(words) else "T1w"
    if _T2.search(words):
        return "T2w"
    return "PD" if _PD.search(words) else ""


def _by_times(series: Series) -> str:
    echo, repetition, inversion = series.echo_ms, series.repetition_ms, series.inversion_ms
    if echo is None or repetition is None:
        return ""
    if inversion and 1500 <= inversion <= 3500 and echo >= 60:
        return "FLAIR"
    if echo <= 30 and (repetition <= 1000 or (inversion and inversion < 1500)):
        return "T1c" if series.agent else "T1w"
    if repetition >= 2000:
        return "T2w" if echo >= 70 else "PD" if echo <= 30 else ""
    return ""
