"""How a run takes scans in: whether they are registered, and how their brains are found. Checked words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from strokelab.errors import ConfigError
from strokelab.preparation.adaptation import Registering
from strokelab.preparation.brain import SKULLS, Skull

if TYPE_CHECKING:
    from strokelab.preparation.recipe import Preparation

AS_TRAINED = "as_trained"
_REGISTER: tuple[str, ...] = get_args(Registering)


@dataclass(frozen=True)
class Intake:
    """What is asked of the preparation of new scans.

    Args:
        register: ``auto``, ``always`` or ``never``; see ``preparation.adaptation.preparation_for``.
        brain_mask: how brains are found where a scan has no mask of its own: ``as_trained``, or a word of
            ``view.preparation.skull``.

    Raises:
        ConfigError: another word.
    """

    register: Registering = "auto"
    brain_mask: Skull | str = AS_TRAINED

    def __post_init__(self) -> None:
        known = {"register": (self.register, _REGISTER), "brain_mask": (self.brain_mask, (AS_TRAINED, *SKULLS))}
        for name, (found, words) in known.items():
            if found not in words:
                raise ConfigError(
                    name, found=repr(found), expected=f"one of {', '.join(words)}", remedy=f"{name}={words[0]}"
                )

    def applied(self, preparation: Preparation) -> Preparation:
        """The preparation with the brain mask that was asked for; the same object where none was."""
        if self.brain_mask in (AS_TRAINED, preparation.skull):
            return preparation
        return replace(preparation, skull=self.brain_mask)  # type: ignore[arg-type]  # checked above

    @property
    def named(self) -> dict[str, str]:
        """What differs from the default, for the recipe of a result."""
        found = {"register": (self.register, "auto"), "brain_mask": (self.brain_mask, AS_TRAINED)}
        return {name: value for name, (value, default) in found.items() if value != default}
