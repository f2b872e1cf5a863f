"""What a network of several classes is compared with: fractions put together from the maps of a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from strokelab.contract import BACKGROUND, LESION, Batch, MapLayout
from strokelab.errors import ConfigError

if TYPE_CHECKING:
    from strokelab.preparation.store import StoredCase


@dataclass(frozen=True)
class Targets:
    """The target of K classes: fractions where a case has them, and which classes are labelled at all.

    The lesion displaces whatever lies under it; the background is what is left. A case that has no map of tissues is
    labelled with background and lesion alone: losses then compare these two.

    Args:
        classes: names of the K maps in the network's order: ``background``, ``lesion``, and channels (or classes) of
            further maps.
        layouts: of the further maps that any case has.
    """

    classes: tuple[str, ...]
    layouts: Mapping[str, MapLayout]

    def labelled_classes(self, case: StoredCase) -> Tensor:
        """The classes (K,) bool that a case is labelled with."""
        own = {name for layout in case.maps.values() for name in layout.channels} - {LESION}
        own |= {BACKGROUND} | ({LESION} if case.labelled else set())
        return torch.tensor([name in own for name in self.classes])

    def added(self, batch: Batch) -> Batch:
        """The batch with its ``target`` (B, K, *S) float32, which sums to 1."""
        lesion = batch["lesion"].float()
        found: dict[str, Tensor] = {LESION: lesion}
        for name, layout in self.layouts.items():
            for channel, of in enumerate(layout.channels):
                if of in self.classes and of not in (BACKGROUND, LESION):
                    found[of] = _share(batch[name], layout, channel) * (1 - lesion)
        others = [found[name] for name in self.classes if name in found]
        total = torch.stack(others).sum(dim=0) if others else torch.zeros_like(lesion)
        shares = {name: found[name] / total.clamp(min=1) for name in self.classes if name in found}
        shares[BACKGROUND] = (1 - total).clamp(min=0)
        nothing = torch.zeros_like(lesion)
        return {**batch, "target": torch.cat([shares.get(name, nothing) for name in self.classes], dim=1)}


def check_classes(classes: Sequence[str], layouts: Mapping[str, MapLayout]) -> None:
    """Every class is one that some case is labelled with.

    Args:
        classes: of the target.
        layouts: of the further maps that any case has, of any source.

    Raises:
        ConfigError: a class twice, or one that no map or several maps have.
    """
    named = [name for layout in layouts.values() for name in layout.channels if name not in (BACKGROUND, LESION)]
    there = {BACKGROUND, LESION, *(name for name in named if named.count(name) == 1)}
    if set(classes) <= there and len(set(classes)) == len(classes):
        return
    raise ConfigError(
        "view.classes",
        found=f"{list(classes)}",
        expected=f"names of {sorted(there)}, each once",
        remedy="correct the names, or name the one map that has them in view.preparation.maps",
    )


def _share(maps: Tensor, layout: MapLayout, channel: int) -> Tensor:
    if layout.is_label:
        return (maps == layout.values[channel]).float()
    return maps[:, channel : channel + 1].float()
