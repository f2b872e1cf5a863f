"""Which modality each sample is of, for networks that take any contrast. Knows numbers of samples; reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from strokelab.contract import PreparedCase
from strokelab.sampling.order import Key
from strokelab.seeding import stream


@dataclass(frozen=True)
class OneModality:
    """One channel of the case for each sample, each as likely as any other (SynthStroke).

    Args:
        channels: of the prepared cases.
        seed: of the run.
        fixed: the modality of epoch 0 in every epoch, for validation.
    """

    channels: int
    seed: int
    fixed: bool = False

    def at(self, keys: Sequence[Key]) -> list[int]:
        """The channel of each sample: a pure function of the seed and of each (epoch, index)."""
        epochs = [(0 if self.fixed else epoch, index) for epoch, index in keys]
        return [int(stream(self.seed, "modality", *key).integers(self.channels)) for key in epochs]


def only(case: PreparedCase, channel: int) -> PreparedCase:
    """The case as if it had this channel alone; its arrays stay mapped, and no other channel is read."""
    image = case.image[channel : channel + 1]
    return replace(case, channels=case.channels[channel : channel + 1], image=image)
