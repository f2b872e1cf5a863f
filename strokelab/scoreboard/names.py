"""What the name of a mask file tells: whose mask it is, and whether it is one at all. Knows text, opens no file.

BIDS names are read by their entities. Of these, ``sub``, ``ses`` and what describes an acquisition or a space tell
scans apart; ``label``, ``desc``, ``seg`` and suffixes only tell masks apart. Other names lose the words with which
tools say "mask" or "prediction".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from strokelab.nifti import stem

Kind = Literal["mask", "probability", "image", "other"]

IDENTITY = ("ses", "acq", "ce", "rec", "dir", "run", "echo", "inv", "part", "chunk", "hemi", "space", "res", "den")
"""BIDS entities besides ``sub`` that tell scans apart."""

_PROBABILITY = "probseg|probs?|probability|probabilities|probmap|softmax|sigmoid|heatmap"
_MASK = (
    "mask|masks|msk|dseg|seg|segm|segmentation|lesion|lesions|lesionmask|roi|label|labels|pred|preds|predicted|"
    "prediction|output|gt|truth|groundtruth|ref|reference|manual|binary|bin"
)
# Where these end a name without "mask" or the like after them, the file is an image and no mask.
_IMAGE = "t1w|t1c|t1ce|t1gd|t2w|t2star|flair|pdw?|swi|dwi|adc|b0|trace|ct|ncct|cta|ctp|cbf|cbv|ttp|tmax|mtt|bold"
_OTHER = ("brain", "brainmask")
_TIMEPOINT_LIKE = "t1|t2"  # also the name of a first or second visit: never taken off a name

_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")
_END = re.compile(rf"(?:^|[_. -]+)(?:{_MASK}|{_PROBABILITY}|{_IMAGE})$", re.IGNORECASE)
_START = re.compile(rf"^(?:{_MASK}|{_PROBABILITY})[_. -]+", re.IGNORECASE)


@dataclass(frozen=True)
class Name:
    """Whose mask a file holds, as far as its name tells."""

    subject: str  # "sub-01", or all of a name that is not BIDS, less words such as "mask"; "" = it tells nothing
    entities: Mapping[str, str]  # of IDENTITY, in that order
    kind: Kind
    words: str  # the whole stem
    folder: str  # relative to where the search began, "" = there

    @property
    def key(self) -> str:
        """Subject and entities in one word, e.g. ``sub-01_ses-1``."""
        return "_".join([self.subject, *(f"{name}-{value}" for name, value in self.entities.items())])

    def contradicts(self, other: Name) -> bool:
        """Whether the two cannot be of one scan: another subject, or an entity that both have with other values."""
        if self.subject.casefold() != other.subject.casefold():
            return True
        return any(other.entities.get(name, value) != value for name, value in self.entities.items())

    def closeness(self, other: Name) -> tuple[int, int, bool, bool]:
        """How well two names that do not contradict fit: more is closer."""
        shared = len(self.entities.keys() & other.entities.keys())
        alone = len(self.entities.keys() ^ other.entities.keys())
        return shared, -alone, self.words == other.words, self.folder == other.folder


def read_name(path: Path, root: Path | None = None) -> Name:
    """The name of one file; folders below ``root`` may tell ``sub`` and ``ses`` where the file's own name does not."""
    words = stem(path)
    folders = path.parent.relative_to(root).parts if root is not None else ()
    own = _entities(words)
    above = {key: value for folder in folders for key, value in _entities(folder).items() if key in ("sub", "ses")}
    entities = above | own
    subject = f"sub-{entities['sub']}" if "sub" in entities else _bare(words)
    kept = {key: entities[key] for key in IDENTITY if key in entities} if "sub" in entities else {}
    return Name(subject, kept, _kind(words), words, "/".join(folders))


def read_names(paths: Sequence[Path], root: Path | None = None) -> list[Name]:
    """The names of all files of a search.

    Names that tell no subject, or are one and the same for all files (``case1/pred.nii.gz``, ``case2/pred.nii.gz``),
    are replaced by those of the folders, less what is the same for all.
    """
    names = [read_name(path, root) for path in paths]
    bare = [index for index, name in enumerate(names) if not name.subject.startswith("sub-")]
    alike = len(bare) > 1 and len({names[index].subject for index in bare}) == 1
    mute = [index for index in bare if alike or not names[index].subject]
    folders = _telling([names[index].folder for index in mute])
    for index, folder in zip(mute, folders, strict=True):
        names[index] = replace(names[index], subject=folder or names[index].subject or names[index].words)
    return names


def case_ids(names: Sequence[Name]) -> list[str]:
    """What the cases are called: subject and session, further entities and folders only where needed to tell apart."""
    groups: dict[str, list[Name]] = {}
    for name in names:
        groups.setdefault(_short(name), []).append(name)
    ids = []
    for name in names:
        group = groups[_short(name)]
        told = [
            f"{key}-{value}"
            for key, value in name.entities.items()
            if key != "ses" and len({other.entities.get(key) for other in group}) > 1
        ]
        ids.append("_".join([_short(name), *told]))
    counts = Counter(ids)
    paths = ["_".join(filter(None, [name.folder.replace("/", "_"), name.words])) for name in names]
    return [path if counts[case] > 1 else case for case, path in zip(ids, paths, strict=True)]


def _short(name: Name) -> str:
    return f"{name.subject}_ses-{name.entities['ses']}" if "ses" in name.entities else name.subject


def _entities(words: str) -> dict[str, str]:
    found = (_ENTITY.fullmatch(word) for word in words.split("_"))
    return {match[1]: match[2] for match in found if match}


def _bare(words: str) -> str:
    """A name without the words at its ends that say what kind of file it is; "" when nothing else is left."""
    for pattern in (_END, _START):
        while (shorter := pattern.sub("", words)) != words:
            words = shorter
    return words


def _kind(words: str) -> Kind:
    entities = _entities(words)
    last = words.rpartition("_")[2] if "sub" in entities else re.split(r"[_. -]+", words)[-1]
    if last.lower() in _OTHER or "brain" in (entities.get("desc"), entities.get("label")):
        return "other"
    if re.fullmatch(f"{_IMAGE}|{_TIMEPOINT_LIKE}", last, re.IGNORECASE):
        return "image"
    return "probability" if re.fullmatch(_PROBABILITY, last, re.IGNORECASE) else "mask"


def _telling(folders: Sequence[str]) -> list[str]:
    """Each folder path as one word, without the parts that all have; the last part where nothing else is left."""
    parts = [folder.split("/") if folder else [] for folder in folders]
    longest = max(map(len, parts), default=0)
    padded = [[*own, *[""] * (longest - len(own))] for own in parts]
    differing = [level for level in range(longest) if len({own[level] for own in padded}) > 1]
    levels = differing or ([longest - 1] if longest else [])
    return ["_".join(filter(None, (own[level] for level in levels))) for own in padded]
