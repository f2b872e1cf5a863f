"""Hooks of MkDocs: pages that the code writes itself are made at build, in memory; none of them is committed.

``NAME/*`` in the navigation of ``mkdocs.yml`` stands for the generated pages below that folder.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs_site import commands, gallery, licences, notebooks, options

ROOT = Path(__file__).resolve().parents[1]
_OPTIONS, _NOTEBOOKS = "reference/options", "notebooks"
_BESIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)  # pages that lie beside docs/, under names in small letters
_FILES = ("LICENSE", "CITATION.cff")  # that such pages link to
_SECTIONS = (
    ("Augmentations", "Each change alone, sampled three times with its default ranges.", gallery.augmentations),
    ("Phantoms", "The first labelled case of a cohort in each layout.", gallery.layouts),
    ("Synthetic images", "The steps of `synthesis=synthstroke`.", gallery.synthetic_steps),
)
_LINK = re.compile(r"(\]\(|src=\")(docs/|)([\w./-]+)")
_SHOWN = re.compile(r"(?<![\w/`.])`?docs/([\w/\\]+\.md)`?(?!\))")
_CODE = re.compile(r"(```.*?```)", re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    config.nav = [_filled(entry) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and pictures."""
    for name, content in _texts().items():
        files.append(File.generated(config, name, content=content))
    for shown in chain.from_iterable(_pictures()):
        files.append(File.generated(config, f"gallery/{shown.file}", content=shown.png))
    for name in _FILES:
        files.append(File.generated(config, name, content=(ROOT / name).read_bytes()))
    return files


@cache
def _texts() -> dict[str, str]:
    conf, pages = ROOT / "conf", {}
    grouped = options.groups(conf)
    for group, paths in grouped.items():
        name = f"{_OPTIONS}/{group.replace('/', '-')}.md"
        pages[name] = _linked(options.markdown(f"{group}=", [options.read(path, group) for path in paths]), "../../")
    for door in ("train", "evaluate"):
        settings = options.markdown(f"strokelab {door}", [options.read(conf / f"{door}.yaml")])
        pages[f"{_OPTIONS}/{door}.md"] = _linked(settings, "../../")
    pages[f"{_OPTIONS}/index.md"] = _index(grouped)
    pages["reference/commands.md"] = commands.markdown()
    pages["reference/licences.md"] = licences.markdown()
    for path in sorted((ROOT / "docs" / _NOTEBOOKS).glob("*.ipynb")):
        pages[f"{_NOTEBOOKS}/{path.stem}.md"] = notebooks.markdown(path)
    pages["index.md"] = _moved((ROOT / "README.md").read_text(encoding="utf-8"))
    for name in _BESIDE:
        pages[name.lower()] = _linked(_moved((ROOT / name).read_text(encoding="utf-8")))
    pages["gallery/index.md"] = _gallery()
    return pages


@cache
def _pictures() -> list[list[gallery.Shown]]:
    return [made() for _, _, made in _SECTIONS]


def _filled(entry: Any) -> Any:
    """An entry of the navigation with the generated pages in the place of ``NAME/*``."""
    if isinstance(entry, list):
        return [_filled(each) for each in entry]
    if not isinstance(entry, dict):
        return entry
    (title, value), *_ = entry.items()
    if not (isinstance(value, str) and value.endswith("/*")):
        return {title: _filled(value)}
    pages = [name for name in _texts() if name.startswith(value[:-1])]
    first = [name for name in pages if name.endswith("/index.md")]
    return {title: [*first, *(name for name in sorted(pages) if name not in first)]}


def _index(grouped: dict[str, list[Path]]) -> str:
    lines = [
        "# Every setting",
        "",
        "Made from the yaml files of `conf/`: the key as it is typed, its value, what the file says of it. "
        "`python train.py --cfg job` shows what a command comes to.",
        "",
        "- [strokelab train](train.md): what a training has besides its groups",
        "- [strokelab evaluate](evaluate.md)",
        "",
        "| group | choices |",
        "| --- | --- |",
    ]
    for group, paths in grouped.items():
        page = f"{group.replace('/', '-')}.md"
        choices = ", ".join(f"[{path.stem}]({page}#{path.stem})" for path in paths)
        lines.append(f"| [{group}]({page}) | {choices} |")
    return "\n".join([*lines, ""])


def _gallery() -> str:
    parts = [
        "# Gallery",
        "",
        "Every picture is made of phantoms when this site is built (`docs_site/gallery.py`); none shows a patient. "
        "The subject's right is on the left, as in reports. Orange: the outline of the lesion.",
    ]
    for (title, text, _), pictures in zip(_SECTIONS, _pictures(), strict=True):
        parts += ["", f"## {title}", "", text]
        for each in pictures:
            said = each.text.replace("``", "`")
            parts += ["", f"### {each.title}", "", said, "", f"![{title}: {each.title}]({each.file})"]
    return "\n".join([*parts, ""])


def _moved(text: str) -> str:
    """Links of a page beside ``docs/`` as links of a page inside."""

    def moved(found: re.Match[str]) -> str:
        opening, folder, path = found.groups()
        target = path.lower() if not folder and path in _BESIDE else path
        return f"{opening}{target}"

    return _LINK.sub(moved, text)


def _linked(text: str, up: str = "") -> str:
    """Pages that a text names become links, outside of code; ``up``: from the text's folder to that of the pages."""

    def linked(found: re.Match[str]) -> str:
        name = found[1].replace("\\", "")
        return f"[{found[1]}]({up}{name})" if _is_page(name) else found[0]

    return "".join(part if part.startswith("```") else _SHOWN.sub(linked, part) for part in _CODE.split(text))


def _is_page(name: str) -> bool:
    return (ROOT / "docs" / name).is_file()
