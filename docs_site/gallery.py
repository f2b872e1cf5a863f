"""The gallery: a picture per augmentation, per phantom layout and per synthetic step, made of phantoms.

Nothing is listed here: augmentations are the classes of ``strokelab.augment`` that change samples, layouts those of
``strokelab.phantoms.layouts``, steps the parts of a plan of the generator.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from docs_site.sheets import Slice, limits_of, sheet
from strokelab import augment
from strokelab.data import read_cases
from strokelab.grid import Orient
from strokelab.nifti import read_lesion, read_voxels
from strokelab.phantoms.cohort import write_cohort
from strokelab.phantoms.layouts import layout_names
from strokelab.seeding import stream
from strokelab.synthesis.anatomy import PhantomAnatomy
from strokelab.synthesis.generator import Generator, Plan
from strokelab.synthesis.lesion_paste import LesionPaste
from strokelab.synthesis.lesions import lesion_on, phantom_lesions

SPACING = 2.0  # mm: a picture of a few hundred pixels shows no more
_PATCH = (88, 104, 72)
_MARGIN = 80  # voxels around a head, for changes of place that read beyond it
_DRAWS = 3
_MOST_SHIFT, _MOST_FACTOR, _LEAST_CONTRAST = 0.04, 3.5, 100.0  # of the sample that shows the steps
_FURTHER = re.compile(r"_(channel|per_axis)_p$")  # shares within a change, no change of their own
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "Affine": {"rotation": 20.0, "zoom": 0.2, "shift": 0.1}
}  # by default none


@dataclass(frozen=True)
class Shown:
    """A picture with its heading and what is said of it."""

    file: str
    title: str
    text: str
    png: bytes


def augmentations() -> list[Shown]:
    """Each change alone, sampled three times with the default ranges, beside the sample that it changes."""
    with tempfile.TemporaryDirectory() as folder:
        volume, lesion = _head(Path(folder))
    shown = []
    for kind in _changing():
        for field, said in _changes(kind):
            change = _alone(kind, field)
            before = _patch(volume, lesion)
            samples = {"before": before}
            for number in range(1, _DRAWS + 1):
                drawing = stream(number, "gallery", kind.__name__, field)
                samples[str(number)] = _changed(change, volume, lesion, drawing)
            index = int(before["lesion"][0].sum(dim=(0, 1)).argmax())
            name = f"{kind.__name__}.{field}" if field else kind.__name__
            file = f"augment-{name.lower().replace('.', '-')}.png"
            shown.append(Shown(file, name, said, sheet(_alike(samples, index), _DRAWS + 1)))
    return shown


def layouts() -> list[Shown]:
    """The first labelled case of a cohort in each layout, every modality of it."""
    shown = []
    for name in layout_names():
        with tempfile.TemporaryDirectory() as folder:
            write_cohort(name, Path(folder) / name, spacing=SPACING, sites=1, cases_per_site=2, progress=False)
            case = next(case for case in read_cases(name, Path(folder) / name) if case.labelled)
            _, own = read_voxels(case.reference_image)
            lesion = Orient(own).apply(read_lesion(case.lesions, own, case.reference_image)) != 0
            slices = []
            for modality, path in case.images.items():
                voxels, grid = read_voxels(path)
                voxels = Orient(grid).apply(voxels)
                outline = lesion if voxels.shape == lesion.shape else np.zeros(voxels.shape, dtype=bool)
                share = lesion.sum(axis=(0, 1)).argmax() / lesion.shape[2]
                index = min(int(share * voxels.shape[2]), voxels.shape[2] - 1)
                size = " x ".join(f"{mm:.2g}" for mm in Orient(grid).target.spacing)
                slices.append(Slice(voxels[..., index], outline[..., index], f"{modality}, {size} mm"))
        text = inspect.cleandoc(importlib.import_module(f"strokelab.phantoms.layouts.{name}").__doc__ or "")
        shown.append(Shown(f"layout-{name}.png", name, text.partition("\n\n")[0], sheet(slices, min(4, len(slices)))))
    return shown


def synthetic_steps() -> list[Shown]:
    """One synthetic sample, each step of the generator on top of the ones before it."""
    head, mask = (
        PhantomAnatomy(1, SPACING).made(),
        max(phantom_lesions(8, 0, SPACING), key=lambda each: each.voxels.sum()),
    )
    lesion = torch.from_numpy(lesion_on(mask.voxels, mask.grid, head.grid))
    maps, brain = (torch.from_numpy(np.array(array)) for array in (head.maps, head.brain))
    generator = Generator(grid=(128, 128, 128), deformation_p=1.0)
    size = (104, 120, 96)
    plans = (generator.sampled(stream(n, "gallery"), size=size, channels=len(maps)) for n in count())
    plan = next(plan for plan in plans if _is_gentle(plan))
    x, y, z = ((whole - side) // 2 for whole, side in zip(generator.grid, size, strict=True))
    strip = replace(generator.strip, p=1.0).sampled(stream(0, "strip"))
    whole = replace(plan, crops=((x, y, z),), strip=strip, flips=(True, False, False))
    slices = []
    for title, made, step in _steps(generator, whole):
        sample = made.made(maps, brain, lesion, step)
        index = int(sample.lesion[0].sum(dim=(0, 1)).argmax())
        picture = sample.image[0, ..., index].numpy()
        slices.append(Slice(picture, sample.lesion[0, ..., index].numpy() != 0, title, (0.0, 1.0)))
    text = (
        "From the tissue maps of a phantom and the outline of a lesion; each picture has the steps of those before it."
    )
    return [Shown("synthetic-steps.png", "From tissue maps to an image", text, sheet(slices, 4))]


def _is_gentle(plan: Plan) -> bool:
    """Whether what each step does can be seen: the head stays in the picture, its tissues differ, details are left."""
    look, warp = plan.looks[0], plan.warp
    inside = warp is not None and float(np.abs(warp.shift).max()) < _MOST_SHIFT
    tissues = look.means[:3]
    return inside and 1.5 < max(look.factors) < _MOST_FACTOR and float(np.ptp(tissues)) > _LEAST_CONTRAST


def _steps(generator: Generator, whole: Plan) -> Iterator[tuple[str, Generator, Plan]]:
    """The plan with its parts switched on one after the other."""
    look = whole.looks[0]
    flat = replace(look, deviations=np.zeros_like(look.deviations), bias=None, gamma=None, blur=0.0)
    flat = replace(flat, factors=(1.0,) * 3, thickness=(0.0,) * 3, noise=None)
    solid = replace(generator, paste=LesionPaste(soft_edge="none", fade="none"))
    plan = replace(whole, fading=None, warp=None, looks=(flat,), strip=None, flips=(False,) * 3)
    yield "grey values of tissues", solid, plan
    plan = replace(plan, fading=whole.fading)
    yield "soft edge, fading", generator, plan
    plan = replace(plan, warp=whole.warp)
    yield "deformation", generator, plan
    for title, parts in (
        ("spread of grey values", ("deviations",)),
        ("bias field", ("bias",)),
        ("gamma", ("gamma",)),
        ("blur", ("blur",)),
        ("low resolution", ("factors", "thickness")),
        ("noise", ("noise",)),
    ):
        flat = replace(flat, **{part: getattr(look, part) for part in parts})
        plan = replace(plan, looks=(flat,))
        yield title, generator, plan
    plan = replace(plan, strip=whole.strip)
    yield "skull strip", generator, plan
    yield "flip", generator, replace(plan, flips=whole.flips)


def _changing() -> list[type[Any]]:
    """The classes of ``strokelab.augment`` that sample and apply changes of their own, by their names."""
    found = {}
    for module in pkgutil.iter_modules(augment.__path__, f"{augment.__name__}."):
        for name, item in vars(importlib.import_module(module.name)).items():
            own = inspect.isclass(item) and item.__module__ == module.name and dataclasses.is_dataclass(item)
            if own and hasattr(item, "draw") and hasattr(item, "apply") and not _needed(item):
                found[name] = item
    return [found[name] for name in sorted(found) if name != "Recipe"]  # a recipe holds changes and makes none


def _needed(kind: type[Any]) -> bool:
    return any(
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(kind)
    )


def _changes(kind: type[Any]) -> list[tuple[str, str]]:
    """The shares (``..._p``) of a class that holds several changes, with what its docstring says; else the class."""
    shares = [field.name for field in dataclasses.fields(kind) if field.name.endswith("_p")]
    shares = [name for name in shares if not _FURTHER.search(name)]
    doc = inspect.getdoc(kind) or ""
    if not shares:
        return [("", doc.partition("\n\n")[0])]
    args = dict(re.findall(r"^    (\w+): (.*(?:\n      +.*)*)", doc, flags=re.MULTILINE))
    return [(name, " ".join(args.get(name, "").split())) for name in shares]


def _alone(kind: type[Any], share: str) -> Any:
    """The class with this change in every sample and none of its others."""
    names = [field.name for field in dataclasses.fields(kind)]
    given: dict[str, Any] = {
        name: float(name == share) for name in names if name.endswith("_p") and not _FURTHER.search(name)
    }
    given |= {name: 1.0 for name in names if _FURTHER.search(name) or name == "p"}
    return kind(**{**given, **_SETTINGS.get(kind.__name__, {})})


def _head(folder: Path) -> tuple[Tensor, Tensor]:
    """A phantom's T1w, z-scored, and its lesion, with a margin of background."""
    write_cohort("atlas_v1", folder / "cohort", spacing=SPACING, sites=1, cases_per_site=4, progress=False)
    cases = read_cases("atlas_v1", folder / "cohort")
    read = []
    for case in cases:
        voxels, grid = read_voxels(case.reference_image)
        read.append((voxels, read_lesion(case.lesions, grid, case.reference_image)))
    voxels, lesion = max(read, key=lambda each: int(each[1].sum()))
    inside = voxels[voxels > voxels.mean()]
    image = torch.from_numpy((voxels - inside.mean()) / inside.std()).float()
    wide = [_MARGIN] * 6
    return (
        torch.nn.functional.pad(image, wide, value=float(image.min())),
        torch.nn.functional.pad(torch.from_numpy(lesion.astype(np.uint8)), wide),
    )


def _patch(volume: Tensor, lesion: Tensor, size: tuple[int, ...] = _PATCH) -> dict[str, Tensor]:
    """A box in the middle: (C, X, Y, Z)."""
    low = [(whole - side) // 2 for whole, side in zip(volume.shape, size, strict=True)]
    x, y, z = (slice(start, start + side) for start, side in zip(low, size, strict=True))
    image, mask = volume[x, y, z][None].clone(), lesion[x, y, z][None].clone()
    return {"image": image, "lesion": mask, "brain": torch.ones_like(mask)}


def _changed(change: Any, volume: Tensor, lesion: Tensor, drawing: np.random.Generator) -> dict[str, Tensor]:
    """The patch after the change: as a batch of one where the change knows batches, else slice by slice alike."""
    sample = _patch(volume, lesion)
    if "patch" not in inspect.signature(change.draw).parameters:
        slices = {key: value.permute(0, 3, 2, 1) for key, value in sample.items()}  # (C, Z, Y, X)
        drawn = change.draw(drawing, (1, *slices["image"].shape[2:]))
        flat = [change.apply({key: value[:, z] for key, value in slices.items()}, drawn) for z in range(_PATCH[2])]
        return {key: torch.stack([each[key] for each in flat], dim=1).permute(0, 3, 2, 1) for key in sample}
    plan = change.draw(drawing, 1, _PATCH)
    batch: dict[str, Any] = {key: value[None] for key, value in sample.items()}
    source = getattr(plan, "source", _PATCH)
    if tuple(source) != _PATCH:
        batch["sources"] = {0: _patch(volume, lesion, source)}
    return {key: value[0] for key, value in change.apply(batch, [plan]).items() if key in sample}


def _alike(samples: Mapping[str, dict[str, Tensor]], index: int) -> list[Slice]:
    """A slice of each sample, all in one range of grey values, so that brightness is seen."""
    images = {title: sample["image"][0, ..., index].numpy() for title, sample in samples.items()}
    limits = [limits_of(image) for image in images.values()]
    shared = (min(low for low, _ in limits), max(high for _, high in limits))
    lesions = {title: sample["lesion"][0, ..., index].numpy() != 0 for title, sample in samples.items()}
    return [Slice(images[title], lesions[title], title, shared) for title in samples]
