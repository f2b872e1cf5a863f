"""What a phantom cohort is asked to be. Knows numbers and names; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from strokelab.errors import ConfigError

Truth = dict[str, str | int | float]
"""One row of ``phantom_truth.csv``: what was put into one case."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a cohort."""

    layout: str
    spacing: float
    sites: int
    cases_per_site: tuple[int, ...] | None  # one number per site; None = the release's own
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        layout: str,
        *,
        spacing: float,
        sites: int,
        cases_per_site: int | Sequence[int] | None,
        seed: int,
        options: Mapping[str, Any],
    ) -> Settings:
        """Settings from what a user may write.

        Raises:
            ConfigError: a number is out of range, or there are not as many case numbers as sites.
        """
        if not 1 <= spacing <= 10:
            raise _wrong("spacing", f"{spacing:g} mm", "1 to 10 mm", "write it at 1 mm and resample in preparation")
        if sites < 1:
            raise _wrong("sites", str(sites), "at least 1", "give a positive number of sites")
        counts = None
        if cases_per_site is not None:
            counts = (cases_per_site,) * sites if isinstance(cases_per_site, int) else tuple(cases_per_site)
            if len(counts) != sites or min(counts) < 1:
                raise _wrong("cases_per_site", str(counts), f"{sites} positive numbers", "give one number per site")
        return cls(layout, float(spacing), sites, counts, int(seed), dict(options))

    def counts(self, real: Sequence[int]) -> tuple[int, ...]:
        """Cases of each site of a release whose own numbers are ``real``; sites it does not have are left out."""
        wanted = self.cases_per_site or tuple(real)
        return tuple(wanted[: min(self.sites, len(real))])

    def option(self, name: str, default: str, choices: Sequence[str]) -> str:
        """A named option of the layout.

        Raises:
            ConfigError: it has a value that the layout does not know.
        """
        value = str(self.options.get(name, default))
        if value not in choices:
            raise _wrong(name, repr(value), f"one of {', '.join(choices)}", "choose one of these")
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A numeric option of the layout.

        Raises:
            ConfigError: it is no number, or out of range.
        """
        given = self.options.get(name, default)
        try:
            value = float(given)
        except (TypeError, ValueError):
            value = float("nan")
        if not least <= value <= most:
            raise _wrong(name, repr(given), f"a number from {least:g} to {most:g}", "give one in this range")
        return value

    def to_json(self) -> dict[str, Any]:
        """Plain data; equal settings give equal data."""
        counts = None if self.cases_per_site is None else list(self.cases_per_site)
        return {
            "layout": self.layout,
            "spacing": self.spacing,
            "sites": self.sites,
            "cases_per_site": counts,
            "seed": self.seed,
            "options": dict(self.options),
        }


def _wrong(name: str, found: str, expected: str, remedy: str) -> ConfigError:
    return ConfigError(f"phantom option {name!r}", found=found, expected=expected, remedy=remedy)
