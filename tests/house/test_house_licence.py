"""Licence, citation and version: one of each, everywhere the same; what we need is under licences that we looked at."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import strokelab
from docs_site.licences import families_of, installed

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # SHA-256 of its text as published


def test_the_licence_is_apache_s_own_text():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["authors"] == [{"name": "strokelab developers"}]
    assert (ROOT / "strokelab" / "py.typed").is_file()


def test_the_version_is_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert strokelab.__version__ == PROJECT["version"] == citation["version"]
    assert f"\n## {strokelab.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_five_papers_are_cited_as_their_pages_have_them():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["authors"] == [{"name": "strokelab developers"}]
    assert len(citation["references"]) == 5
    pages = " ".join(path.read_text() for path in (ROOT / "docs" / "methods").glob("*.md"))
    for paper in citation["references"]:
        assert paper["authors"][0]["family-names"] in pages
        for identifier in paper.get("identifiers", []):
            assert identifier["value"].removeprefix("arXiv:") in pages
        models = re.search(r"model=([\w, ]+)", paper["notes"])[1].split(", ")
        assert [name for name in models if not (ROOT / "conf" / "model" / f"{name}.yaml").is_file()] == []


def test_what_is_installed_is_under_licences_of_known_families():
    packages = installed()
    assert {"torch", "lightning", "hydra-core", "nibabel", "pytest"} <= {each.name.lower() for each in packages}
    assert [f"{each.name}: {each.said}" for each in packages if not each.families] == [], "look at its licence"


@pytest.mark.parametrize(
    ("said", "families"),
    [
        ("MIT", ("MIT",)),
        ("Apache-2.0 OR BSD-2-Clause", ("Apache", "BSD")),
        ("License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", ("MPL",)),
        ("LGPL-3.0-or-later", ("LGPL",)),
        ("MIT AND GPL-3.0-only", ()),
        ("GNU General Public License v3", ()),
        ("MIT AND Elastic-2.0", ()),
        ("Free for non-commercial use", ()),
        ("", ()),
    ],
)
def test_words_of_licences(said, families):
    assert families_of(said) == families


def test_pre_commit_runs_what_make_lint_runs():
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    assert [hook["entry"] for hook in hooks] == ["make lint"]
