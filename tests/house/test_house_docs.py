"""The documentation site's own rules, without building it: its order, its pages of settings, its code blocks."""

import re
from pathlib import Path

import yaml

from docs_site import options
from docs_site.commands import markdown as commands_page
from docs_site.notebooks import markdown as notebook_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = {"index.md", "changelog.md", "contributing.md", "security.md", "reference/commands.md"}
GENERATED |= {"reference/licences.md"}


def navigation():
    found = []

    def walk(entry):
        if isinstance(entry, str):
            found.append(entry)
        else:
            for each in entry.values() if isinstance(entry, dict) else entry:
                walk(each)

    walk(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    return [name for name in found if not name.endswith("/*")]


def test_every_page_has_one_place_in_the_order():
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    named = navigation()
    assert len(named) == len(set(named))
    assert pages - set(named) == set(), "a page without a place in mkdocs.yml"
    assert set(named) - pages == GENERATED


def test_blocks_are_of_a_kind_that_runs_or_is_shown():
    kinds = {"bash", "python", "sh", "text", "yaml", "csv"}
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        found = set(re.findall(r"^```(\w+)$", page.read_text(), flags=re.MULTILINE))
        assert found <= kinds, page.name


YAML = """\
# @package _global_
# python train.py thing=one      with a word
# What it is,
# in two lines.
defaults:
  - /other: two   # why two

part:                  # all of the part
  width: 3             # of a layer,
                       # in channels
  kinds: [a, "b # c"]
  # before a key
  deep: {on: true, off: null}   # a switch
list:
  - name: x
    size: 1
"""


def test_a_yaml_file_becomes_its_settings(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(YAML)
    page = options.read(path, "thing")
    assert page.commands == ("python train.py thing=one      with a word",)
    assert page.text == "What it is, in two lines."
    assert page.defaults == ("`/other: two` (why two)",)
    assert [(each.key, each.value, each.comment) for each in page.settings] == [
        ("part", "", "all of the part"),
        ("part.width", "3", "of a layer, in channels"),
        ("part.kinds", '[a, "b # c"]', ""),
        ("part.deep", "", "before a key a switch"),
        ("part.deep.on", "true", ""),
        ("part.deep.off", "null", ""),
        ("list", "[{name: x, size: 1}]", ""),
    ]


def test_a_group_gives_its_settings_their_place(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("# @package model.loss\na: 1\n")
    assert [each.key for each in options.read(path, "loss").settings] == ["model.loss.a"]
    path.write_text("a: 1\n")
    assert [each.key for each in options.read(path, "hydra/launcher").settings] == ["hydra.launcher.a"]


def leaves(node, prefix=""):
    """Keys by Hydra's own rules of nesting, worked out from the loaded yaml."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_setting_and_comment_of_conf_is_on_a_page():
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        page, text = options.read(path), path.read_text()
        loaded = yaml.load(text, yaml.CSafeLoader) or {}
        shown = [each.key for each in page.settings]
        place = next((key.removesuffix(each) for each in leaves(loaded) for key in shown if key.endswith(each)), "")
        assert {f"{place}{key}" for key in leaves(loaded) if not key.startswith("defaults")} <= set(shown), path
        said = " ".join([page.text, *page.commands, *page.defaults, *(each.comment for each in page.settings)])
        said = re.sub(r"\\([\\|*_<>`\[\]])", r"\1", said)
        comments = [each.strip() for each in re.findall(r"(?:^|\s)#(.+)$", text, flags=re.MULTILINE)]
        assert [each for each in comments if each not in said and not each.startswith("@package")] == [], path


def test_every_command_has_its_words():
    page = commands_page()
    for name, word in (("predict", "--postprocess"), ("check", "--dataset"), ("matrix", "--on"), ("train", "SETTINGS")):
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert word in section, name


def test_a_notebook_becomes_a_page():
    page = notebook_page(DOCS / "notebooks" / "student.ipynb")
    assert page.startswith("# A network of your own\n")
    assert "```python\nfrom pathlib import Path" in page
    assert "class Wide(nn.Module)" in page
