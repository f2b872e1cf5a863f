"""BIDS names for any case id: legal, in BIDS order, telling ids apart. Knows text, no files."""

from __future__ import annotations

import hashlib
import re
import unicodedata

ENTITIES = (
    *("sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec"),
    *("dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk"),
    *("atlas", "seg", "scale", "res", "den", "desc"),
)
"""The entities of BIDS 1.10 in its order, without ``label``, which the outputs bear themselves."""

_DATATYPES = {
    "dwi": ("dwi", "adc", "b0", "trace", "dti"),
    "perf": ("cbf", "cbv", "ttp", "tmax", "mtt", "pwi", "asl", "ctp"),
    "func": ("bold",),
    "pet": ("pet",),
}
_OWN_DESC = ("disagreement", "qc")  # descriptions of the outputs themselves
_LONGEST = 100  # characters of a label; file systems allow names of 255


def bids_entities(case_id: str, *, marked: bool = False) -> dict[str, str]:
    """The BIDS entities of a case id, in BIDS order.

    An id that is a BIDS name gives its own entities. Of any other id, the letters and digits make the label of
    ``sub`` (where the id has a ``sub``: of ``desc``); unless nothing was lost, ``x`` and eight hexadecimal digits of
    the whole id follow. So two ids differ, but for ``a`` beside ``sub-a``, and for capitals where the file system does
    not tell them apart: of such two, one has to be ``marked``.

    Args:
        case_id: any text.
        marked: add the digits although nothing is lost.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    for word in case_id.split("_"):
        key, dash, value = word.partition("-")
        if dash and key in ENTITIES and key not in found and re.fullmatch(r"[A-Za-z0-9]{1,100}", value):
            found[key] = value
        else:
            rest.append(word)
    if "sub" not in found:
        plain = re.fullmatch(rf"[A-Za-z0-9]{{1,{_LONGEST}}}", case_id) is not None
        return {"sub": case_id if plain and not marked else _with_digits(case_id, case_id)}
    ordered = {key: found[key] for key in ENTITIES if key in found}
    said = "_".join(f"{key}-{value}" for key, value in ordered.items())
    own = found.get("desc", "")
    if marked or said != case_id or own.lower().endswith(_OWN_DESC):
        ordered["desc"] = _with_digits(own + "".join(rest), case_id)
    return ordered


def bids_words(stem: str) -> tuple[dict[str, str], str] | None:
    """Entities and suffix of a file name without its ending; None where it is no BIDS name of a subject.

    Args:
        stem: e.g. ``sub-01_ses-2_run-1_T1w``; entities that BIDS does not know count as well.
    """
    *words, suffix = stem.split("_")
    pairs = [word.partition("-") for word in words]
    entities = {key: value for key, dash, value in pairs if key and dash and value}
    if len(entities) < len(words) or next(iter(entities), "") != "sub" or "-" in suffix or not suffix:
        return None
    return entities, suffix


def bids_path(entities: dict[str, str], suffix: str, datatype: str = "anat") -> str:
    """A path such as ``sub-x/ses-1/anat/sub-x_ses-1_label-lesion_desc-y_mask.nii.gz``.

    Args:
        entities: of the case, in BIDS order; its ``desc`` comes before the last word of the suffix.
        suffix: what is put behind them, e.g. ``label-lesion_mask.nii.gz``; its own ``desc`` is joined to the case's.
        datatype: the folder.
    """
    *before, last = suffix.split("_")
    own = next((word.removeprefix("desc-") for word in before if word.startswith("desc-")), "")
    if last.startswith("desc-"):  # desc-qc.png: no suffix of BIDS
        own, dot, ending = last.removeprefix("desc-").partition(".")
        last = dot + ending
    desc = entities.get("desc", "")
    joined = f"{desc}{own.capitalize()}" if desc and own else desc or own
    words = [f"{key}-{value}" for key, value in entities.items() if key != "desc"]
    words += [word for word in before if not word.startswith("desc-")] + ([f"desc-{joined}"] if joined else [])
    name = "_".join(words) + (last if last.startswith(".") else f"_{last}")
    session = f"ses-{entities['ses']}/" if "ses" in entities else ""
    return f"sub-{entities['sub']}/{session}{datatype}/{name}"


def datatype_of(modality: str) -> str:
    """The BIDS folder of a modality: ``dwi``, ``perf``, ``func``, ``pet``, else ``anat``."""
    return next((folder for folder, names in _DATATYPES.items() if modality.lower() in names), "anat")


def _with_digits(text: str, case_id: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    label = re.sub(r"[^A-Za-z0-9]", "", plain)[: _LONGEST // 2] or "case"
    return f"{label}x{hashlib.blake2b(case_id.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
