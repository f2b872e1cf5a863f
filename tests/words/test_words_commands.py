"""Paths and settings in printed commands: what a shell splits and Hydra parses is what was put in."""

import ast
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from strokelab.command_words import setting, shown, value, word

PARSER = OverridesParser.create()
NAMES = st.text("ab1[]{}()$\\'\",=:~#!*&|; <>`é°.-+@/", min_size=1) | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0\n\r"), min_size=1
)


def given_back(text: str):
    """What Hydra makes of a printed word."""
    (only,) = shlex.split(text)
    return OmegaConf.create({"key": PARSER.parse_override(only).value()})["key"]


@given(NAMES)
@example("runs[lr=0.1]")
@example("[/x]")
@example("${oc.env:HOME}")
@example("\\${a}")
@example("it's")
@example("a\\")
@example("null")
@example("1e3")
@example("012")
def test_a_setting_comes_back(name):
    assert given_back(setting("resume", name)) == name
    assert list(given_back(setting("runs", [name, "b", name]))) == [name, "b", name]
    assert shlex.split(word(name)) == [name]


def test_what_needs_no_quotes_has_none():
    assert setting("resume", "outputs/2026-01-01/run_1") == "resume=outputs/2026-01-01/run_1"
    assert setting("data.batch_size", 4) == "data.batch_size=4"
    assert [value(item) for item in (None, True, 1e-5, "no")] == ["null", "true", "1e-05", "no"]


@pytest.mark.parametrize("name", ["run", "~run", "-run", "[/x]"])
def test_a_path_is_short_and_stays_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = shown(tmp_path / name)
    assert Path(text).expanduser().resolve() == tmp_path / name
    assert text == (name if name[0] not in "~-" else str(tmp_path / name))


ROOT = Path(__file__).resolve().parents[2]
SAFE = {"escape", "counted", "len", "min", "max", "round", "sum", "_number"}


def bare(call: ast.Call) -> list[str]:
    """Texts that a printed f-string takes as they are where rich looks for marks."""
    if any(word.arg == "markup" for word in call.keywords):
        return []
    return [
        ast.unparse(part.value)
        for text in call.args[:1]
        if isinstance(text, ast.JoinedStr)
        for part in text.values
        if isinstance(part, ast.FormattedValue) and not part.format_spec and not _is_number(part.value)
    ]


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.BoolOp):
        node = node.values[0]
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "") in SAFE
    names = {"cases", "minutes", "row.lesions", "trainer.global_step", "datamodule.n_sites", "__version__"}
    text = ast.unparse(node)
    return text in names or text.startswith("type(") or text.endswith((".gpus", ".most_busy", ".batch"))


def test_printed_lines_escape_what_they_quote():
    found = []
    for path in sorted((ROOT / "strokelab").rglob("*.py")):
        if ".print(" not in (source := path.read_text()):
            continue
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        printed = [call for call in calls if getattr(call.func, "attr", "") == "print"]
        found += [f"{path.relative_to(ROOT)}:{call.lineno}: {text}" for call in printed for text in bare(call)]
    assert not found
