"""A network that gives something else than logits of its target's shape, or raises: said with its class and shapes.

Asked of every step, on shapes alone, so that whatever a network does with its image is seen at the first one.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn

from strokelab.distributed import connection_lost
from strokelab.errors import ConfigError, StrokelabError
from strokelab.resources import out_of_memory

_FULL = "HYDRA_FULL_ERROR=1 before the command shows the whole traceback"
_TORCH = Path(torch.__file__).parent
_LIBRARIES = (_TORCH, Path(__file__).parents[1], Path(sysconfig.get_path("stdlib")))


def loss_of(loss: nn.Module, network: nn.Module, image: Tensor, logits: Any, *compared: Tensor) -> Tensor:
    """The loss of a network's output.

    Args:
        loss: (logits, target) -> scalar; ``DeepSupervision`` for several logits.
        network: that gave them.
        image: (B, C, *S) that it was given.
        logits: (B, K, *S), or several of them, finest first.
        *compared: the target (B, 1 or K, *S), and what else the loss takes.

    Raises:
        ConfigError: the finest logits are no tensor of the target's samples and sides, or have a number of maps with
            which the loss raises.
    """
    target = compared[0]
    finest = logits[0] if isinstance(logits, (list, tuple)) and len(logits) else logits
    several = finest is not logits
    if not isinstance(finest, Tensor) or (several and not network.training):
        raise _unlike(network, image, f"a {type(logits).__name__}", target)
    if not finest.is_floating_point():
        raise _unlike(network, image, f"logits of {finest.dtype}", target)
    given, wanted = ((*shape[:1], *shape[2:]) for shape in (finest.shape, target.shape))
    if given != wanted or finest.ndim != target.ndim:
        raise _unlike(network, image, f"logits {tuple(finest.shape)}", target)
    try:
        return cast(Tensor, loss(logits, *compared))
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        if (finest.shape == target.shape and not several) or out_of_memory(error):
            raise
        found = f"a {type(logits).__name__} of logits" if several else f"logits {tuple(finest.shape)}"
        raised = f"{found}, of which {type(loss).__name__} raises {_first_line(error)},"
        raise _unlike(network, image, raised, target) from error


def _unlike(network: nn.Module, image: Tensor, found: str, target: Tensor) -> ConfigError:
    several = "; in training also a list of them, finest first, where the class says deep_supervision = True"
    return ConfigError(
        _named(network),
        found=f"{found} for an image {tuple(image.shape)}",
        expected=f"logits {tuple(target.shape)}, as the target{several if found.startswith('a ') else ''}",
        remedy=f"let its forward return logits as long as the target along each axis, one map for each class; {_FULL}",
    )


@contextmanager
def explained(network: nn.Module, image: Tensor) -> Iterator[None]:
    """Say of an error that a network raises inside its forward, encode or decode: where, and of which image.

    Args:
        network: that is used inside.
        image: (B, C, *S) that it is given.

    Raises:
        ConfigError: the network raised; what it raised is the cause.
    """
    try:
        yield
    except StrokelabError:
        raise
    except Exception as error:
        frames = _inside(network, error)
        if not frames or out_of_memory(error) or connection_lost(error) or isinstance(error, torch.AcceleratorError):
            raise
        frame, line = frames[-1]
        where = f"{frame.f_code.co_filename}, line {line}"
        raise ConfigError(
            _named(network),
            found=f"{where}, raises for an image {tuple(image.shape)}: {_first_line(error)}",
            expected="logits (B, K, *S) for an image (B, C, *S)",
            remedy="correct this line, or give samples and windows sides that the network can take (its class may say "
            f"divisors and shortest, which are checked before data are read); {_FULL}",
        ) from error


def _inside(network: nn.Module, error: BaseException) -> list[tuple[FrameType, int]]:
    """The frames of a network that raised, with their lines: of files that are no library's where there are any."""
    frames = list(traceback.walk_tb(error.__traceback__))
    first = next((place for place, (frame, _) in enumerate(frames) if frame.f_locals.get("self") is network), None)
    inside = [] if first is None else frames[first:]
    own = [one for one in inside if not _of(_LIBRARIES, one[0]) and "site-packages" not in one[0].f_code.co_filename]
    return own or [one for one in inside if not _of((_TORCH,), one[0])]


def _of(folders: tuple[Path, ...], frame: FrameType) -> bool:
    return any(Path(frame.f_code.co_filename).is_relative_to(folder) for folder in folders)


def _named(network: nn.Module) -> str:
    return f"network {type(network).__module__}.{type(network).__qualname__}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(":. ")
