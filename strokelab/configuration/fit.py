"""Whether the parts of a config agree with one another, found out before any data are read: the parts are asked."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from math import prod
from typing import Any

from strokelab.configuration.building import target_of
from strokelab.configuration.composition import Settings
from strokelab.configuration.forms import Network, Samples, augmentation_of, network_of, samples_of, view_of
from strokelab.configuration.late_facts import bind, given_facts
from strokelab.errors import ConfigError

_TISSUES = {"GM", "WM", "PV", "CSF"}  # of synthetic images
_NAMES = {2: "slices", 3: "patches"}  # what samples of so many axes are called


def check_fit(settings: Settings) -> None:
    """Model, view and data must agree; found out before any data are read.

    What a planner will decide is left to it; what stands already is held against the rest. A part that says nothing of
    itself (``forms``) is accepted.

    Raises:
        ConfigError: samples and network have other dimensions, a side does not divide through the network's poolings
            or cannot be halved, images are centred at 0 for a network that takes none below it, or a part is switched
            on that the others cannot serve.
    """
    settings = bind(settings, given_facts(settings), partly=True)
    model, node = settings["model"], settings["view"]
    view = view_of(node)
    network = network_of(model.get("network"), getattr(view, "input_channels", None))
    samples, windows = (samples_of(view, node, part) for part in ("sampler", "windows"))
    _check_dimensions(model, network, samples, windows, planner=settings.get("planner"))
    _check_classes(model, node)
    _check_sign(network, view)
    if samples and not samples.are_slices and getattr(target_of(model.get("standardizer")), "whole_slices", False):
        raise ConfigError(
            "standardizer",
            found="a standardizer of whole slices (MAIN) with a view of patches",
            expected="samples that are whole slices, whose statistics it takes",
            remedy="switch it off with standardizer=none, or choose a model of slices, e.g. model=unet2d",
        )
    halves = getattr(target_of(model.get("hemispheres")), "halves", 1)
    if halves > 1 and samples:
        _check_midline(model, node, view, network, samples, windows)
    for part in filter(None, (samples, windows)):
        _check_sides(part, network, halves)
    _check_samples(network, halves, settings)
    _check_sites(target_of(model.get("adversary")), settings.get("data") or {})
    _check_sources(settings.get("data") or {})
    _check_made(model, node, view, settings.get("data") or {})


def check_loss(model: Mapping[str, Any]) -> None:
    """There is a loss, and one of a single map has a network of one. Imports the loss.

    Raises:
        ConfigError: there is none, or the network has several maps.
    """
    loss, network = model.get("loss") or {}, model.get("network") or {}
    if not loss:
        raise ConfigError(
            "model.loss", found="none", expected="a loss to train with", remedy="choose one, e.g. loss=dice_ce"
        )
    loss, maps = loss.get("each") or loss, network.get("out_channels")
    if isinstance(maps, int) and maps > 1 and getattr(target := target_of(loss), "single_map", False):
        from strokelab.losses.dice import unlike_maps  # here: sweep tables load no torch

        raise unlike_maps(target.__name__, maps)


def _check_dimensions(
    model: Mapping[str, Any], network: Network, samples: Samples | None, windows: Samples | None, *, planner: Any
) -> None:
    """Planner, network, samples and windows are all of slices, or all of volumes, as far as they say so."""
    if samples is None:
        return
    seen = samples.dimensions
    if getattr(target_of(planner), "dimensions", seen) != seen:
        raise ConfigError(
            "view",
            found=f"a view of {_NAMES[seen]}, and a planner, which plans {_NAMES[5 - seen]}",
            expected=f"a view of {_NAMES[5 - seen]}",
            remedy="leave view=nnunet in place, or plan by hand: planner=null, and give what is ??? yourself",
        )
    if network.dimensions not in (None, seen):
        raise ConfigError(
            "model.network.dimensions" if "dimensions" in model["network"] else "model.network",
            found=f"a network of {network.dimensions} dimensions with a view of {_NAMES[seen]}",
            expected=f"{seen}",
            remedy=f"choose a view of {_NAMES[5 - seen]}, or a network of {seen} dimensions",
        )
    if windows and windows.dimensions != seen:
        raise ConfigError(
            "view.windows",
            found=f"windows that are {_NAMES[windows.dimensions]}, with a sampler of {_NAMES[seen]}",
            expected=f"{_NAMES[seen]}, as the network is trained on",
            remedy="leave view.windows as conf/view has it",
        )


def _check_classes(model: Mapping[str, Any], view: Mapping[str, Any]) -> None:
    """A network has one map for each class that the view names, and knows which one is the lesion."""
    classes, maps = view.get("classes"), (model.get("network") or {}).get("out_channels")
    if not classes or not isinstance(maps, int):
        return
    if "lesion" not in classes:
        raise ConfigError(
            "view.classes",
            found=f"{list(classes)}",
            expected="a map for each class, lesion among them",
            remedy="add lesion to view.classes",
        )
    wanted = (len(classes), classes.index("lesion"))
    if (maps, model.get("lesion_channel")) != wanted:
        raise ConfigError(
            "view.classes",
            found=f"{list(classes)} with a network of {maps} maps whose lesion is number {model.get('lesion_channel')}",
            expected="a map for each class, lesion among them",
            remedy=f"set model.network.out_channels={wanted[0]} model.lesion_channel={wanted[1]}",
        )


def _check_sign(network: Network, view: Any) -> None:
    """A network that discards what is below 0 gets images that are not centred there."""
    centred = getattr(getattr(view, "preparation", None), "centred", ())
    if network.non_negative and centred:
        raise ConfigError(
            "view.preparation.normalize",
            found=f"z-scores of {', '.join(centred)}, about half of them below 0",
            expected="images of 0 and above: the network begins with a rectifier, which discards the rest",
            remedy="use view.preparation.normalize=scale255, or model.network.allow_negative=true",
        )


def _check_sides(samples: Samples, network: Network, halves: int) -> None:
    """Every known side divides through the known poolings and is long enough, left-right for each hemisphere."""
    for axis, length in samples.sides.items():
        parts = halves if axis == "x" else 1
        needed = network.divisor(axis) * parts
        if length is not None and length % needed:
            poolings = f"poolings by {network.divisor(axis)}"
            raise ConfigError(
                f"{samples.setting} along {axis}",
                found=f"{length} voxels",
                expected=f"a multiple of {needed} ({poolings}{', two hemispheres' if parts == 2 else ''})",
                remedy=f"use {-(-length // needed) * needed}, or a network with fewer poolings (model.network)",
            )
        least = network.least(axis) * parts
        if length is not None and length < least:
            raise ConfigError(
                f"{samples.setting} along {axis}",
                found=f"{length} voxels",
                expected=f"at least {least}{' for two hemispheres' if parts == 2 else ''}: two of them are left",
                remedy=f"use {least}, or a network with fewer poolings (model.network)",
            )


def _check_midline(
    model: Mapping[str, Any],
    node: Mapping[str, Any],
    view: Any,
    network: Network,
    samples: Samples,
    windows: Samples | None,
) -> None:
    """Samples that are cut in two must have the midline in their middle; patches must span the prepared width, too."""
    wrong, remedy = ([], []) if "x" in samples.spans else _unlike_halves(model, view, network, samples, windows)
    if getattr(getattr(view, "preparation", None), "orientation", "RAS") == "ASR":
        wrong, remedy = ["sagittal slices, which lie in one hemisphere"], ["view.preparation.orientation=RAS"]
    augment = augmentation_of(node.get("augment") or {})
    if not getattr(augment, "keeps_midline", True):
        wrong.append("augmentation that turns the midline")
        remedy.append("view.augment.keep_midline=true" if hasattr(augment, "keep_midline") else "augment=none")
    if wrong:
        raise ConfigError(
            "hemispheres",
            found=", ".join(wrong),
            expected="samples that span the prepared width, so that the cut between the hemispheres is their middle",
            remedy=f"add {' '.join(remedy)}, or switch it off with hemispheres=none",
        )


def _unlike_halves(
    model: Mapping[str, Any], view: Any, network: Network, samples: Samples, windows: Samples | None
) -> tuple[list[str], list[str]]:
    """What keeps patches from being two halves, and the settings that mend it."""
    preparation = view.preparation
    width = preparation.crop[0] if preparation.crop else None
    side = samples.sides["x"]
    fitting = _halvable(int(width or side or 192), model, network, preparation.spacing)
    wrong: list[str] = []
    remedy: list[str] = []
    if preparation.box is not None:
        wrong.append("volumes cut to a box that need not be symmetric")
        remedy.append("view.preparation.box=null")
    if preparation.orientation != "RAS":
        wrong.append("axes as in the file")
        remedy.append("view.preparation.orientation=RAS")
    if width is None:
        wrong.append("volumes of any width")
    elif width != fitting:
        wrong.append(f"a width of {width} voxels, whose halves do not divide through the poolings")
    if width != fitting:
        remedy.append(f"view.preparation.crop=[{fitting},null,null]")
    for part, name in ((samples, "patches"), (windows, "windows")):
        if part and part.sides.get("x") not in (None, fitting):
            wrong.append(f"{name} of {part.sides['x']} voxels from left to right")
            remedy += [f"{part.setting}={_listed({**part.sides, 'x': fitting})}"]
    return wrong, remedy


def _halvable(width: int, model: Mapping[str, Any], network: Network, spacing: Any) -> int:
    """The next width whose halves can be pooled as often as their length allows, or as the network does."""
    if network.planned:
        from strokelab.planning.stages import halvable  # here: who only asks how a sweep stands loads no NumPy

        given = {key: value for key, value in model["network"].items() if isinstance(value, list)}
        return halvable(width, given, spacing or (1.0, 1.0, 1.0))
    step = 2 * network.divisor("x")
    return -(-width // step) * step


def _check_samples(network: Network, halves: int, settings: Settings) -> None:
    """A step gives each process as many samples as its network trains on at least, as far as the settings say."""
    batch, trainer = (settings.get("data") or {}).get("batch_size"), settings.get("trainer") or {}
    counts = [trainer.get(key) for key in ("devices", "num_nodes")]
    processes = prod(count for count in counts if isinstance(count, int) and count > 0)
    if isinstance(batch, int) and batch // processes * halves < network.least_samples:
        least = -(-network.least_samples // halves) * processes
        raise ConfigError(
            "data.batch_size",
            found=f"{batch} for {processes} process{'' if processes == 1 else 'es'}",
            expected=f"at least {least}: the network trains on no fewer than {network.least_samples} samples at once",
            remedy=f"set data.batch_size={least}",
        )


def _check_sites(adversary: Any, data: Mapping[str, Any]) -> None:
    """There are as many sites as an adversary tells apart at least, as far as the data say."""
    sites = len(data["only_sites"]) if data.get("only_sites") else data.get("n_sites")
    least: int = getattr(adversary, "least_sites", 0)
    few = isinstance(sites, int) and sites < least
    if few or (least and not data.get("has_sites", True)):
        raise ConfigError(
            "adversary",
            found=f"a site adversary on a dataset {'of one site' if few else 'without sites'}",
            expected="at least two training sites",
            remedy="switch it off with adversary=none",
        )


def _check_sources(data: Mapping[str, Any]) -> None:
    """No source, nor their mixing, is a rest of settings whose class was left out (``synthesis=none``)."""
    named = {f"data.sources.{name}": one for name, one in (data.get("sources") or {}).items()}
    for name, one in (named | {"data.mixing": data.get("mixing")}).items():
        if isinstance(one, Mapping) and "_target_" not in one:
            raise ConfigError(
                name,
                found=f"settings of no class: {', '.join(one)}",
                expected="null, or a class with its settings",
                remedy=f"set {name}=null",
            )


def _check_made(model: Mapping[str, Any], node: Mapping[str, Any], view: Any, data: Mapping[str, Any]) -> None:
    """A source that makes samples can make those of the view, and real ones, which lack its tissues, suit the loss."""
    makers = [made for one in (data.get("sources") or {}).values() if hasattr(made := target_of(one), "check_view")]
    for maker in makers if view else ():
        maker.check_view(view)
    classes = {*(node.get("classes") or ())} - {"background", "lesion"}
    loss = model.get("loss") or {}
    takes = getattr(target_of(loss.get("each") or loss), "forward", None)
    partial = bool(classes) and not (node.get("preparation") or {}).get("maps")
    if partial and classes & _TISSUES and not any((data.get("sources") or {}).values()):
        raise ConfigError(
            "view.classes",
            found=f"{sorted(classes)}, with real images alone, which are labelled without them",
            expected="a source of images that are labelled with them, or maps of them (view.preparation.maps)",
            remedy="choose synthesis=synthstroke, or two classes: view.classes=[background,lesion] "
            "model.network.out_channels=2 model.lesion_channel=1",
        )
    if makers and partial and takes and "labelled_classes" not in signature(takes).parameters:
        raise ConfigError(
            "model.loss",
            found=f"a loss that compares all classes, with real images that are labelled without {sorted(classes)}",
            expected="a loss that takes labelled_classes as a third argument",
            remedy="choose loss=dice_ce, or leave the tissues out with view.classes=null",
        )


def _listed(sides: Mapping[str, int | None]) -> str:
    """Sides as a command has them, along x, y, z."""
    return f"[{','.join(str(length) for length in sides.values())}]"
