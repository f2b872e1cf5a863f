"""Networks of MONAI, as they are: an adapter that gives them the house's manners. Knows MONAI by a fixed table.

MONAI is an extra, and imported only when such a network is built.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import check_dimensions

_MOST_BLOCKS, _WIDEST = 64, 8192  # in a stage, and stages; channels of one
_COUNTS = ("blocks", "depths", "dsdepth", "deep_supr")  # arguments that say how often something is repeated


def _by_blocks(arguments: Mapping[str, Any], dimensions: int) -> tuple[int, ...]:
    return (2 ** (len(arguments.get("blocks_down", (1, 2, 2, 4))) - 1),) * dimensions


def _by_strides(arguments: Mapping[str, Any], dimensions: int) -> tuple[int, ...]:
    per_stage = [[stride] * dimensions if isinstance(stride, int) else stride for stride in arguments["strides"]]
    return tuple(math.prod(axis) for axis in zip(*per_stage, strict=True))


def _by_patch(arguments: Mapping[str, Any], dimensions: int) -> tuple[int, ...]:
    return (int(arguments.get("patch_size", 2)) ** 5,) * dimensions


def _by_image(arguments: Mapping[str, Any], dimensions: int) -> tuple[int, ...]:
    size = arguments["img_size"]
    return (size,) * dimensions if isinstance(size, int) else tuple(size)


@dataclass(frozen=True)
class _Entry:
    """What is known of a class of ``monai.networks.nets``.

    Args:
        divisors: of the sides of an image, from the arguments.
        supervised: whether it returns several logits while training.
        needs: further packages.
        exact: sides must be the divisors themselves.
        leaves_unused: some weights never get a gradient.
    """

    divisors: Callable[[Mapping[str, Any], int], tuple[int, ...]]
    supervised: Callable[[Mapping[str, Any]], bool] = lambda arguments: bool(arguments.get("deep_supervision"))
    needs: tuple[str, ...] = ()
    exact: bool = False
    leaves_unused: bool = False


_MEDNEXT = _Entry(lambda arguments, dimensions: (16,) * dimensions)
_TABLE: Mapping[str, _Entry] = {
    "SegResNet": _Entry(_by_blocks),
    "SegResNetDS": _Entry(_by_blocks, supervised=lambda arguments: arguments.get("dsdepth", 1) > 1),
    "SwinUNETR": _Entry(_by_patch, needs=("einops",)),
    "DynUNet": _Entry(_by_strides),
    "AttentionUnet": _Entry(_by_strides),
    "UNETR": _Entry(_by_image, needs=("einops",), exact=True, leaves_unused=True),
    **dict.fromkeys(("MedNeXtS", "MedNeXtB", "MedNeXtM", "MedNeXtL"), _MEDNEXT),
}
"""By name; nothing else of MONAI is built here."""


@buildable("model")
class Monai(nn.Module):
    """A network of MONAI: (B, in_channels, *S) -> logits (B, out_channels, *S).

    With deep supervision it returns, in training mode, a list of them, finest first; those of DynUNet all have the
    size of the image. In evaluation mode it returns one tensor, that of the bare class.

    Args:
        name: of the class in ``monai.networks.nets``: SegResNet, SegResNetDS, SwinUNETR, DynUNet, AttentionUnet, UNETR,
            MedNeXtS, MedNeXtB, MedNeXtM or MedNeXtL.
        in_channels: channels of the image, one per modality.
        out_channels: maps of logits.
        dimensions: 2 or 3.
        arguments: of the class, under its own names.
        **further: the same; in a config they stand in ``arguments``, where no plan takes ``strides`` for its own.

    Attributes:
        network: the bare class.
        dimensions: as given.
        divisors: what each axis of S must be a multiple of; of UNETR, exactly S.
        deep_supervision: whether it returns several logits while training.
        leaves_unused: whether some weights never get a gradient, which DDP has to know.

    Raises:
        ConfigError: MONAI is not installed, another name, or arguments that the class does not take; when called,
            sides that it cannot divide.

    It shows no features, and so has no adversary.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        *,
        dimensions: int = 3,
        arguments: Mapping[str, Any] | None = None,
        **further: Any,
    ) -> None:
        super().__init__()
        check_dimensions(dimensions, f"MONAI's {name}")
        entry, arguments = _entry(name), {**(arguments or {}), **further}
        _check_sizes(name, arguments)
        given = {"spatial_dims": dimensions, "in_channels": in_channels, "out_channels": out_channels, **arguments}
        try:
            with _NumbersKept():
                self.network: nn.Module = _class_of(name, entry)(**given)
            self.divisors = entry.divisors(arguments, dimensions)
        except (TypeError, ValueError, KeyError, AssertionError) as error:
            raise ConfigError(
                f"MONAI's {name}",
                found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}",
                expected=f"arguments of monai.networks.nets.{name}",
                remedy="correct the settings of model.network; conf/model/monai_*.yaml are examples",
            ) from error
        self.name, self.dimensions, self._exact = name, dimensions, entry.exact
        self._takes_means = not entry.exact and any(
            isinstance(layer, (nn.InstanceNorm2d, nn.InstanceNorm3d)) for layer in self.modules()
        )
        self.deep_supervision = entry.supervised(arguments)
        self.leaves_unused = entry.leaves_unused

    @staticmethod
    def available() -> bool:
        """Whether MONAI is installed."""
        return importlib.util.find_spec("monai") is not None

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits of an image (B, in_channels, *S).

        Raises:
            ConfigError: sides that the network cannot divide.
        """
        self._check_sides(tuple(image.shape[2:]))
        logits: Any = self.network(image)
        if isinstance(logits, (list, tuple)):
            return [*logits] if self.training else logits[0]
        if logits.ndim == image.ndim + 1:  # DynUNet's, stacked along a second axis
            return [*logits.unbind(dim=1)] if self.training else logits[:, 0]
        one: Tensor = logits
        return one

    def _check_sides(self, size: tuple[int, ...]) -> None:
        fits = len(size) == self.dimensions and not any(
            side != by if self._exact else side % by for side, by in zip(size, self.divisors, strict=True)
        )
        if not fits:
            how = "exactly" if self._exact else "divisible by"
            raise ConfigError(
                f"MONAI's {self.name}",
                found=f"{len(size)} axes of sizes {size}",
                expected=f"{self.dimensions} axes, {how} {self.divisors}",
                remedy="change the patch (view.sampler.patch, view.windows.patch) or view.preparation.crop",
            )
        if self.training and self._takes_means and size == self.divisors:
            raise ConfigError(
                f"MONAI's {self.name}",
                found=f"sizes {size}, of which its stages leave one voxel",
                expected="at least two voxels at the last stage, whose mean and SD are taken",
                remedy="use a larger patch (view.sampler.patch, view.windows.patch)",
            )


class _NumbersKept(TorchFunctionMode):
    """SwinUNETR computes settings with tensors, whose values it asks for; on the meta device they would have none."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def _entry(name: str) -> _Entry:
    if name not in _TABLE:
        raise ConfigError(
            "model.network.name",
            found=repr(name),
            expected=f"one of {', '.join(_TABLE)}",
            remedy="choose one of them",
        )
    return _TABLE[name]


def _class_of(name: str, entry: _Entry) -> Callable[..., nn.Module]:
    try:
        for package in entry.needs:
            importlib.import_module(package)
        found: Callable[..., nn.Module] = getattr(importlib.import_module("monai.networks.nets"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "model.network",
            found=f"MONAI's {name}, and {error}",
            expected="MONAI, which is an extra of strokelab",
            remedy="pip install 'strokelab[monai]'",
        ) from error
    return found


def _check_sizes(name: str, arguments: Mapping[str, Any]) -> None:
    """Arguments are plain, and none asks for more than a network has: building alone would keep a machine busy.

    Raises:
        ConfigError: naming the setting.
    """
    for key, value in arguments.items():
        most = _MOST_BLOCKS if key.startswith(_COUNTS) else _WIDEST
        values = _flat(value)
        wrong = [one for one in values if not isinstance(one, (bool, int, float, str, type(None)))]
        wrong += [one for one in values if isinstance(one, (int, float)) and not abs(one) <= most]
        if wrong or len(values) > _MOST_BLOCKS:
            raise ConfigError(
                f"model.network.arguments.{key}",
                found=f"{str(wrong[0])[:60] if wrong else f'{len(values)} values'}, for MONAI's {name}",
                expected=f"plain words and numbers, none above {most:,}, at most {_MOST_BLOCKS} of them",
                remedy=f"correct model.network.arguments.{key}; conf/model/monai_*.yaml are examples",
            )


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return _flat(list(value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [item for one in value for item in _flat(one)]
    return [value]
