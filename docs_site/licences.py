"""The licences of what strokelab needs, from the metadata of the packages that are installed. Knows no network.

A family is what a licence asks for, whatever its words. A package whose metadata name no licence of a family is
unknown, and a test fails: look at its licence before it becomes a dependency.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
FAMILIES = {
    "Apache": r"apache",
    "MIT": r"\bMIT\b|HPND|CMU",
    "BSD": r"\b0?BSD\b|\bBSL-1.0\b|kiwi licensing",
    "PSF": r"\bPSF\b|python software foundation|matplotlib versions",
    "ISC": r"\bISC\b",
    "Zlib": r"\bzlib\b",
    "public domain": r"\bCC0\b|unlicense|public domain",
    "MPL": r"\bMPL\b|mozilla public",
    "LGPL": r"\bLGPL\b|lesser general public",
}
"""What may be a dependency, with the words by which metadata name it. MPL and LGPL ask that changes to *their* files
stay open; strokelab changes none and bundles none, it imports them."""
_OTHER = re.compile(r"(?<!L)GPL|(?<!lesser )general public|proprietary|non-?commercial", flags=re.IGNORECASE)


@dataclass(frozen=True)
class Licensed:
    """One installed package: its name and version, what its metadata say, and the families found in that."""

    name: str
    version: str
    said: str
    families: tuple[str, ...]


def installed(extras: tuple[str, ...] | None = None) -> list[Licensed]:
    """Every package that strokelab needs and that is installed, also by way of others, by name.

    Args:
        extras: of strokelab; None: all.
    """
    packages = {dist.metadata["Name"].lower(): dist for dist in _needed(extras).values() if dist is not None}
    packages.pop("strokelab", None)
    return [_licensed(dist) for _, dist in sorted(packages.items())]


def absent() -> list[str]:
    """The packages that strokelab, its extras or what they need ask for, and that are not installed."""
    needed = _needed(None)
    there = {name for (name, _), dist in needed.items() if dist is not None}
    return sorted({name for name, _ in needed} - there)


def _needed(extras: tuple[str, ...] | None) -> dict[tuple[str, str], Distribution | None]:
    """Every package by name and extras; None where it is not installed."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for name in extras or optional for line in optional[name])]
    found: dict[tuple[str, str], Distribution | None] = {}
    for line in asked:
        _walk(Requirement(line), found)
    return found


def families_of(said: str) -> tuple[str, ...]:
    """The families that a licence's words name; none: unknown, as where one of several that all hold is unknown."""
    named = [[name for name, words in FAMILIES.items() if re.search(words, part, re.IGNORECASE)] for part in _all(said)]
    if _OTHER.search(said) or not all(named):
        return ()
    return tuple(dict.fromkeys(name for part in named for name in part))


def markdown() -> str:
    """The table of the packages that are installed where the site is built."""
    rows = [f"| {each.name} | {each.version} | {', '.join(each.families)} |" for each in installed()]
    return "\n".join(
        [
            "# Licences",
            "",
            "strokelab is under the Apache licence 2.0; all of it is the strokelab developers' own work. It bundles no "
            "other package and no weights. What it needs comes from a package index, each under a licence of its own: "
            "those of the environment in which this page was built. A test fails where a licence is of another family.",
            "",
            "| package | version | family |",
            "| --- | --- | --- |",
            *rows,
            "",
            *(
                [f"Not installed there, their licences not looked at: {', '.join(left)}.", ""]
                if (left := absent())
                else []
            ),
        ]
    )


def _walk(asked: Requirement, found: dict[tuple[str, str], Distribution | None]) -> None:
    key = (re.sub(r"[-_.]+", "-", asked.name).lower(), ",".join(sorted(asked.extras)))
    if key in found:
        return
    found[key] = None
    try:
        package = found[key] = distribution(asked.name)
    except PackageNotFoundError:
        return
    for line in package.requires or ():
        inner = Requirement(line)
        if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in asked.extras or {""}):
            _walk(inner, found)


def _all(said: str) -> list[str]:
    """The licences of an expression that hold together."""
    return re.split(r"\s+AND\s+", said)


def _licensed(dist: Distribution) -> Licensed:
    said = " | ".join(_words(dist))
    return Licensed(dist.metadata["Name"], dist.version, said, families_of(said))


def _words(dist: Distribution) -> Iterator[str]:
    """The expression where there is one, else the classifiers, else the first lines of the licence."""
    fields = dist.metadata.json
    if expression := fields.get("license_expression"):
        yield str(expression)
        return
    classifiers = [line for line in fields.get("classifier", ()) if line.startswith("License ::")]
    yield from classifiers or [str(fields.get("license", ""))[:200]]
