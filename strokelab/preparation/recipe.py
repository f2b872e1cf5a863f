"""From a case's files to arrays on the model's grid: all settings, and the one function that obeys them.

Knows files, grids and grey values; knows no store (``preparation.store`` keeps what is made here) and no network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.contract import RESERVED, Case, PreparedCase
from strokelab.errors import DataError
from strokelab.grid import CropPad, Grid, Orient, Resample, Step
from strokelab.nifti import read_grid, read_lesion, read_union
from strokelab.placement import check_covers
from strokelab.preparation.brain import SKULLS, Skull, find_brain
from strokelab.preparation.crop import Axes, crop_box
from strokelab.preparation.further import FurtherChannels, ready_of
from strokelab.preparation.images import normalized, physical_units, read_image
from strokelab.preparation.maps import layouts_of, maps_onto
from strokelab.preparation.mirror import Mirror
from strokelab.preparation.nonzero import Box, Image, nonzero_box, nonzero_region
from strokelab.preparation.normalize import NORMALIZATIONS, Normalization
from strokelab.preparation.register import Register
from strokelab.preparation.regrid import image_onto, lesion_onto, mask_onto, say_cut_brain, say_doubts
from strokelab.preparation.template import template_on
from strokelab.preparation.words import names_of, three_of, wrong_setting

PREPARATION_VERSION = 1
"""Raise it whenever the same files and settings would give other arrays: stored cases of older code are then left."""

_FINEST_MM, _LONGEST = 0.05, 4096
# Settings that are words, with what they may be; the first is the default.
_WORDS: dict[str, tuple[str | None, ...]] = {
    "box": (None, "nonzero"),
    "interpolation": ("linear", "cubic"),
    "orientation": ("RAS", "file", "RSA", "ASR"),
    "clip": ("perfusion", "none"),
    "skull": SKULLS,
}
MOST_VOXELS = 2**29
"""2 GB of float32 per channel; a head at 0.3 mm has two thirds of it. More is a slip, or meant to fill the memory."""


@buildable("view")
@dataclass(frozen=True)
class Preparation:
    """All settings of a preparation; plain data, so that it can be hashed and written down.

    Args:
        modalities: the channels, in this order.
        spacing: voxel size of the prepared grid along X, Y, Z (RAS+), mm; None keeps the case's own.
        normalize: see ``preparation.normalize.normalize``; one rule, or one for each channel by its name.
        crop: size of the prepared grid along X, Y, Z; None leaves an axis whole. Larger than the volume: padded.
        offset: first voxel of the crop along X, Y, Z; None centres it.
        box: ``"nonzero"`` cuts the case to the box of voxels at which any modality is not zero, before ``spacing``
            and ``crop``; predictions are 0 outside it. None keeps the whole volume.
        interpolation: of images, ``"linear"`` or ``"cubic"``; masks are linear, cut at one half.
        orientation: where the axes X, Y, Z of the prepared grid, also those above, run to: ``"RAS"``; ``"RSA"`` or
            ``"ASR"``: the slices [:, :, z] are coronal or sagittal; ``"file"``: as in the case's own file.
        clip: ``"perfusion"``: perfusion maps to their 1st to 99th percentile in the brain; ``"none"``: as they are.
        onto: a grid in the world (with ``register``: the template's) that the case is brought to before the crop, in
            place of ``spacing``; None: the case's own field of view. No setting of a config:
            ``preparation.adaptation`` chooses it for single scans.
        maps: names of further maps of the cases that are prepared as well, where a case has them.
        further: makes further channels of the modalities.
        mirror: of the mirrored channels, between the modalities and the further ones; they are normalised by the rule
            of their modality, where ``normalize`` does not name them, each with its own statistics. None: off.
        register: to a template, on whose grid of ``spacing`` (None: its own) the case then lies, all modalities and
            masks by one transform of the reference image; its name, or its settings; None: the case stays.
        skull: how the brain is found where a case has no mask of it (``preparation.brain.find_brain``): ``"auto"``,
            ``"nonzero"``, ``"estimated"``, or a program that is installed: ``"synthstrip"``, ``"hd-bet"``.

    Raises:
        ConfigError: a setting has the wrong length or range.
    """

    modalities: tuple[str, ...]
    spacing: tuple[float, float, float] | None = None
    normalize: Normalization | Mapping[str, Normalization] = field(default="zscore_slice_brain", hash=False)
    crop: Axes | None = None
    offset: Axes | None = None
    box: Literal["nonzero"] | None = None
    interpolation: Literal["linear", "cubic"] = "linear"
    orientation: Literal["RAS", "file", "RSA", "ASR"] = "RAS"
    clip: Literal["perfusion", "none"] = "perfusion"
    onto: Grid | None = None
    maps: tuple[str, ...] = ()
    further: FurtherChannels | None = None
    mirror: Mirror = field(default_factory=Mirror)
    register: Register | None = None
    skull: Skull = "auto"

    def __post_init__(self) -> None:
        rules: Any = self.normalize
        settings: dict[str, Any] = {
            "modalities": names_of(self.modalities),
            "maps": names_of(self.maps),
            "normalize": dict(rules) if isinstance(rules, Mapping) else rules,
            "spacing": three_of("spacing", self.spacing, float),
            "crop": three_of("crop", self.crop, int),
            "offset": three_of("offset", self.offset, int),
            "mirror": self.mirror or Mirror(),
            "register": Register.of(self.register),
        }
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise wrong_setting("modalities", self.modalities, "at least one modality, none twice")
        if RESERVED & {*self.maps}:
            raise wrong_setting(
                "maps", self.maps, f"other names than {', '.join(sorted(RESERVED))}: rename its columns"
            )
        if self.spacing and not all(value is not None and value >= _FINEST_MM for value in self.spacing):
            raise wrong_setting("spacing", self.spacing, f"three lengths of at least {_FINEST_MM} mm")
        if self.crop and any(size is not None and not 1 <= size <= _LONGEST for size in self.crop):
            raise wrong_setting("crop", self.crop, f"sizes from 1 to {_LONGEST} voxels, or null")
        if self.offset and (self.crop is None or any(o is not None and c is None for o, c in self._offset_pairs())):
            raise wrong_setting("offset", self.offset, "an offset only along axes that are cropped")
        wrong = [channel for channel in self.channels if self.normalization_of(channel) not in NORMALIZATIONS]
        if wrong or (isinstance(rules, Mapping) and set(rules) - {*self.channels}):
            each = f"one of {', '.join(NORMALIZATIONS)}, or one for each of {', '.join(self.channels)}"
            raise wrong_setting("normalize", self.normalize, each)
        if self.mirror.enabled:
            self.mirror.reference_of(self.modalities)
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                words = ", ".join("null" if word is None else word for word in known)
                raise wrong_setting(name, getattr(self, name), f"one of {words}")
        boxed = self.box is not None and self.register is None
        if self.onto is not None and (not isinstance(self.onto, Grid) or boxed or self.orientation != "RAS"):
            raise wrong_setting("onto", self.onto, "null, or a grid without box and with RAS axes")
        if self.register is not None and self.orientation != "RAS":
            raise wrong_setting("register", self.register, "null, or a template and RAS axes")

    @property
    def channels(self) -> tuple[str, ...]:
        """Of the prepared image, in order: the modalities, and what is made of them."""
        further = () if self.further is None else tuple(self.further.names(self.modalities))
        return (*self.modalities, *self.mirror.names(self.modalities), *further)

    @property
    def originals(self) -> dict[str, str]:
        """Mirrored channel -> its modality; empty where none are mirrored."""
        return dict(zip(self.mirror.names(self.modalities), self.modalities, strict=False))

    def normalization_of(self, channel: str) -> str:
        """The rule of one channel; "" where none is given."""
        if not isinstance(self.normalize, Mapping):
            return self.normalize
        own = self.originals.get(channel, channel)
        rule = "none" if self.further is not None and channel in ready_of(self.further, self.modalities) else ""
        return self.normalize.get(channel, self.normalize.get(own, rule))

    @property
    def centred(self) -> tuple[str, ...]:
        """The channels whose values lie around 0 after normalisation, half of them below it."""
        return tuple(name for name in self.channels if self.normalization_of(name).startswith("zscore"))

    @property
    def looks_at_nonzero(self) -> bool:
        """Whether it matters where images are not zero."""
        return bool(self.box) or any(self.normalization_of(name) == "zscore_nonzero" for name in self.channels)

    def axes_of(self, native: Grid) -> str:
        """Where the axes of a prepared grid run to, for a case whose own grid is ``native``."""
        return native.orientation if self.orientation == "file" else self.orientation

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``Preparation(**content)`` reads it back where none of these objects is in it.

        Words at their default are left out, so that the stored cases of settings older than them stay known.
        """
        content: dict[str, Any] = asdict(self)
        apart = ("further", "onto", "maps", "mirror", "register")
        further, _, maps, mirror, _ = (content.pop(name) for name in apart)
        known = {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}
        known = {key: value for key, value in known.items() if key not in _WORDS or value != _WORDS[key][0]}
        known |= {"maps": list(maps)} if maps else {}
        known |= {"mirror": mirror} if self.mirror.enabled else {}
        known |= {} if self.register is None else {"register": self.register.to_json()}
        known |= {"further": {"class": type(self.further).__qualname__, **further}} if further else {}
        return known if self.onto is None else known | {"onto": self.onto.to_json()}

    def _offset_pairs(self) -> zip[tuple[int | None, int | None]]:
        return zip(self.offset or (), self.crop or (), strict=True)


def prepare(case: Case, preparation: Preparation) -> PreparedCase:
    """A case's arrays on the model's grid, with the steps that lead back.

    The reference image is oriented to RAS+, cut to its box, resampled to ``spacing`` over its own field of view when
    that differs (or to the grid ``onto``, or a template's), and cropped or padded. Modalities on another grid go onto
    the result directly, in one interpolation through the affines; finer voxels than the target's are smoothed before.
    What lies outside an image takes the median value of its border (air, or 0 when skull-stripped), so that
    ``a * image + c`` gives the same z-scores.
    The brain mask is ``preparation.brain.find_brain``'s; ADC maps come to 10^-6 mm^2/s, perfusion maps are clipped.

    A lesion mask that must be resampled is lesion where linear interpolation reaches 0.5. If this leaves nothing of
    a lesion that is there, each voxel takes its nearest native voxel instead; if that, too, leaves nothing, the mask
    is empty: nothing is invented. This, and lesion or brain outside the crop, is said in a ``DataWarning``.

    Arrays are read-only views whose memory order is (C, Z, Y, X): an axial slice is one piece.

    Raises:
        DataError: a modality is missing, or does not overlap the reference image; a file is unreadable or constant, a
            mask lies on another grid than its image, or no brain is left inside the crop.
        ConfigError: the prepared grid would be too large.
    """
    _check_modalities(case, preparation)
    native = read_grid(case.reference_image)
    for modality in preparation.modalities:  # headers first: a bad file is named before minutes of work
        read_grid(case.images[modality])
    read: dict[Path, Image] = {}
    if preparation.looks_at_nonzero:  # all are looked at before one is prepared
        read = {case.images[name]: read_image(case.images[name]) for name in preparation.modalities}
    box = nonzero_box([*read.values()], native) if preparation.box else None
    steps = plan_steps(native, preparation, box)
    target = steps[-1].target
    if math.prod(target.shape) > MOST_VOXELS:
        raise wrong_setting("crop and spacing", target.shape, f"a prepared grid of at most {MOST_VOXELS:,} voxels")
    read_masks = read_union if "pseudo" in case.meta else read_lesion  # a model's mask may be as large as it likes
    annotated = read_masks(case.lesions, native, case.reference_image) if case.labelled else None
    reference = read.get(case.reference_image) or read_image(case.reference_image)
    native_brain, source = find_brain(case, native, reference[0], preparation.skull)
    registered = None
    if (register := preparation.register) is not None:
        named = (case.case_id, case.reference_image, case.reference_modality)
        registered = register.found(reference[0], native_brain, native, *named)
        steps = plan_steps(registered.carried(native), preparation, box)
        if register.refined:
            say_doubts(registered, case)
        if register.refined and source == "estimated":  # the template's brain is nearer than a threshold's
            native_brain, source = template_on(registered.carried(native)), "mni152"
    brain = _stored(mask_onto(native_brain, steps))
    if not brain.any():
        raise DataError(
            case.reference_image,
            found=f"no brain voxel left on the prepared grid of shape {target.shape} (brain mask: {source})",
            expected=f"the brain of case {case.case_id} inside the crop {preparation.crop}",
            remedy="change view.preparation.crop and offset, or give the case a brain mask",
        )
    say_cut_brain(native_brain, steps, case)
    rules = [preparation.normalization_of(name) for name in preparation.channels]
    region = brain
    if "zscore_nonzero" in rules:
        region = _stored(mask_onto(nonzero_region([*read.values()], native), steps))
    image = np.empty((len(rules), *target.shape[::-1]), dtype=np.float32).transpose(0, 3, 2, 1)
    for channel, modality in zip(image, preparation.modalities, strict=False):
        path = case.images[modality]
        known = reference if path == case.reference_image else read.get(path)
        voxels, grid = known or read_image(path, flat=preparation.normalization_of(modality) == "none")
        check_covers(path, grid, case.reference_image, native, native_brain)
        where = grid if registered is None else registered.carried(grid)
        channel[...] = image_onto(voxels, where, steps, preparation.interpolation)
        physical_units(channel, brain, modality=modality, path=path, clip=preparation.clip == "perfusion")
    originals, modalities, mirrored = preparation.originals, preparation.modalities, None
    own, flipped, rest = np.split(image, [len(modalities), len(modalities) + len(originals)])
    if originals:
        mirrored = preparation.mirror.fill(flipped, own, brain, target, modalities, case.case_id)
    if preparation.further is not None:
        rest[...] = preparation.further(own, brain, target)
    for channel, name, how in zip(image, preparation.channels, rules, strict=True):
        path = case.images.get(originals.get(name, name), case.reference_image)
        normalized(channel, region if how == "zscore_nonzero" else brain, path=path, how=how)
    lesion = None if annotated is None else _stored(lesion_onto(annotated, steps, case))
    for array in (image, brain, lesion):
        if array is not None:
            array.flags.writeable = False
    return PreparedCase(
        case_id=case.case_id,
        subject_id=case.subject_id,
        site=case.site,
        channels=preparation.channels,
        image=image,
        lesion=lesion,
        brain=brain,
        grid=target,
        steps=steps,
        native=native,
        brain_source=source,
        maps=maps_onto(case, preparation.maps, steps, registered),
        layouts=layouts_of(case, preparation.maps),
        mirrored=mirrored,
        registered=registered,
    )


def plan_steps(native: Grid, preparation: Preparation, box: Box | None = None) -> tuple[Step, ...]:
    """The steps from a case's own grid to the prepared one; a ``Resample`` only where the spacing differs.

    Args:
        native: the case's own grid.
        preparation: what to do.
        box: of voxels of ``native``, to cut first; None: the whole volume.
    """
    orient = Orient(native, preparation.axes_of(native))
    steps: list[Step] = [orient]
    grid = orient.target
    if box is not None and box.shape != native.shape:
        inside = box.along(orient)
        steps.append(CropPad(grid, inside.start, inside.shape))
        grid = steps[-1].target
    if preparation.register is not None:
        steps.append(Resample(grid, preparation.onto or preparation.register.target(preparation.spacing)))
        grid = steps[-1].target
    elif preparation.onto is not None:
        if not grid.matches(preparation.onto):
            steps.append(Resample(grid, preparation.onto))
            grid = steps[-1].target
    elif preparation.spacing is not None and not np.allclose(grid.spacing, preparation.spacing, rtol=0, atol=1e-3):
        steps.append(Resample(grid, grid.resized(preparation.spacing)))
        grid = steps[-1].target
    if preparation.crop is not None:
        start, shape = crop_box(grid.shape, preparation.crop, preparation.offset)
        if shape != grid.shape or any(start):
            steps.append(CropPad(grid, start, shape))
    return tuple(steps)


def _check_modalities(case: Case, preparation: Preparation) -> None:
    missing = [name for name in preparation.modalities if name not in case.images]
    if case.label_modality and case.label_modality not in case.images:
        missing.append(case.label_modality)
    if missing:
        raise DataError(
            f"case {case.case_id}",
            found=f"modalities {', '.join(case.images) or 'none'}",
            expected=f"also {', '.join(missing)}",
            remedy="set data.modalities to what every case has, or leave the case out with data.exclude",
        )


def _stored(array: NDArray[Any]) -> NDArray[Any]:
    """The same (X, Y, Z) in the memory order of the store, (Z, Y, X)."""
    return np.asfortranarray(array)
