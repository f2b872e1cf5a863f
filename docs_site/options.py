"""Every setting of ``conf/`` as tables, from the yaml files themselves. Knows yaml; knows neither Hydra nor the code.

A setting has the key that is typed on the command line, the text of its value and the comment beside or above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

_COMMAND = re.compile(r"(python|strokelab|make) |\s{4}")  # or one that goes on
_PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
_COMMENT = re.compile(r"\s*#\s?(.*)")
_NEAR = 4  # columns: a comment in a line of its own goes on with the one above it where both begin in one column


@dataclass(frozen=True)
class Setting:
    """One key of a yaml file: as it is typed, its value as it is written, and what the file says of it."""

    key: str
    value: str
    comment: str


@dataclass(frozen=True)
class Page:
    """One yaml file: its commands, what its first lines say, what it starts from, its settings."""

    name: str
    commands: tuple[str, ...]
    text: str
    defaults: tuple[str, ...]
    settings: tuple[Setting, ...]


def groups(conf: Path) -> dict[str, list[Path]]:
    """The yaml files of each group by its name (``model``, ``hydra/launcher``), both in order."""
    found: dict[str, list[Path]] = {}
    for path in sorted(conf.rglob("*.yaml")):
        group = path.parent.relative_to(conf).as_posix()
        if group not in (".", "local"):
            found.setdefault(group, []).append(path)
    return found


def read(path: Path, group: str = "") -> Page:
    """A yaml file as a page.

    Args:
        path: the file.
        group: of the file; its settings lie there unless ``@package`` says another place.

    Raises:
        yaml.YAMLError: no yaml.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    package = _PACKAGE.match(lines[0]) if lines else None
    place = package[1] if package else group.replace("/", ".")
    prefix = "" if place in ("", "_global_") else f"{place}."
    root = yaml.compose(text)
    first = root.start_mark.line if root is not None else len(lines)
    first = next((number for number, line in enumerate(lines[:first]) if not line.strip()), first)
    head = [found[1] for line in lines[:first] if (found := _COMMENT.match(line)) and not _PACKAGE.match(line)]
    commands = tuple(line for line in head if _COMMAND.match(line))
    said = " ".join(line for line in head if not _COMMAND.match(line))
    if not isinstance(root, yaml.MappingNode):
        return Page(path.stem, commands, said, (), ())
    comments = _Comments(text, lines, first)
    pairs = [(key, value) for key, value in root.value if key.value != "defaults"]
    listed = [value for key, value in root.value if key.value == "defaults"]
    defaults = tuple(_entry(text, entry, comments) for node in listed for entry in node.value)
    settings = tuple(setting for key, value in pairs for setting in _settings(text, prefix, key, value, comments))
    return Page(path.stem, commands, said, defaults, settings)


def markdown(title: str, pages: list[Page]) -> str:
    """The pages of one group as Markdown, each under a heading of its own."""
    parts = [f"# {title}", ""]
    for page in pages:
        parts += [f"## {page.name}", "", page.text, ""]
        if page.commands:
            parts += ["```text", *page.commands, "```", ""]
        if page.defaults:
            parts += [f"Starts from {', '.join(page.defaults)}.", ""]
        if page.settings:
            parts += ["| setting | value | |", "| --- | --- | --- |"]
            parts += [f"| `{each.key}` | {_cell(each.value)} | {_plain(each.comment)} |" for each in page.settings]
            parts += [""]
    return "\n".join(parts)


class _Comments:
    """Comments by the line of the key that they belong to; each is given out once."""

    def __init__(self, text: str, lines: list[str], first: int) -> None:
        self.beside: dict[int, str] = {}
        self.above: dict[int, list[str]] = {}
        ends: dict[int, int] = {}
        for token in yaml.scan(text):
            if token.start_mark.index < token.end_mark.index:
                ends[token.end_mark.line] = max(ends.get(token.end_mark.line, 0), token.end_mark.column)
        for number, end in ends.items():
            if found := re.match(r"\s+#\s?(.*)", lines[number][end:] if number < len(lines) else ""):
                self.beside[number] = found[1].strip()
        owner, waiting = -1, list[str]()
        for number, line in enumerate(lines):
            alone = number >= first and number not in ends and _COMMENT.match(line)
            if alone and owner in self.beside and abs(line.index("#") - lines[owner].rindex(" #")) < _NEAR:
                self.beside[owner] += f" {alone[1].strip()}"  # a comment that goes on under the one beside a value
            elif alone:
                waiting.append(alone[1].strip())
            elif number in ends:
                owner = number
                if waiting:
                    self.above[number], waiting = waiting, []
            elif not line.strip():
                owner = -1

    def of(self, number: int) -> str:
        """What stands above and beside this line, the first time that it is asked for."""
        return " ".join([*self.above.pop(number, []), *filter(None, [self.beside.pop(number, "")])])


def _settings(text: str, prefix: str, key: yaml.Node, value: yaml.Node, comments: _Comments) -> Iterator[Setting]:
    name = f"{prefix}{key.value}"
    said = comments.of(key.start_mark.line)
    if isinstance(value, yaml.MappingNode) and value.value:
        if said:
            yield Setting(name, "", said)
        for inner, node in value.value:
            yield from _settings(text, f"{name}.", inner, node, comments)
        return
    inside = range(key.start_mark.line + 1, value.end_mark.line + bool(value.end_mark.column))
    yield Setting(name, _written(text, value), " ".join(filter(None, [said, *map(comments.of, inside)])))


def _entry(text: str, node: yaml.Node, comments: _Comments) -> str:
    said = comments.of(node.start_mark.line)
    return f"`{_written(text, node).strip('{}')}`" + (f" ({_plain(said)})" if said else "")


def _written(text: str, node: yaml.Node) -> str:
    """A value as one line: as it is written, or in the flow style of yaml; a text of several lines is named alone."""
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return ""
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False):
        return " ".join(text[node.start_mark.index : node.end_mark.index].split())
    return yaml.serialize(_flow(node), width=10**9).strip()


def _flow(node: yaml.Node) -> yaml.Node:
    if isinstance(node, yaml.CollectionNode):
        node.flow_style = True
        for item in node.value:
            for each in item if isinstance(item, tuple) else (item,):
                _flow(each)
    return node


def _cell(value: str) -> str:
    if not value:
        return ""
    fence = "``" if "`" in value else "`"
    return f"{fence}{value}{fence}".replace("|", "\\|")


def _plain(text: str) -> str:
    """A comment as text of a table: signs of Markdown and of HTML are themselves."""
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", text)
