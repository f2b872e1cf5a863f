"""The rules of the house itself, as LAYOUT and docs/architecture.md state them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {str(path.relative_to(ROOT)): path.read_text() for path in sorted((ROOT / "strokelab").rglob("*.py"))}


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Every module's syntax tree by its name below the root."""
    return {name: ast.parse(text) for name, text in MODULES.items()}


def test_rooms_import_downwards_only():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_modules_are_small_and_well_named():
    long = {name: lines for name, text in MODULES.items() if (lines := len(text.splitlines())) > 350}
    assert not long, "two rooms, perhaps"
    assert not [name for name in MODULES if re.fullmatch(r"utils?|helpers?|common|misc|base", Path(name).stem)]


def _public(tree: ast.Module):
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"))


def test_public_things_say_what_they_are(trees):
    bare = [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    bare += [f"{name}: {n.name}" for name, tree in trees.items() for n in _public(tree) if not ast.get_docstring(n)]
    assert not bare, "no docstring"


def _imports(tree: ast.Module) -> set[str]:
    """Top-level packages a module imports when it is imported itself (not inside functions, not for types)."""
    found = set()

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
                visit(node.body + node.orelse)

    visit(tree.body)
    return found


LIBRARY_FLOORS = {
    "lightning": ("models/", "callbacks/", "data/datamodule.py", "training/"),
    "hydra": ("configuration/", "sweeps/"),  # sweeps: its launchers and sweepers are plugins of Hydra
    "matplotlib": ("report/", "planes.py"),
    "wandb": (),
}


def test_heavy_libraries_stay_in_their_rooms(trees):
    found = [
        f"{name}: {library}"
        for name, tree in trees.items()
        for library in _imports(tree) & LIBRARY_FLOORS.keys()
        if not name.removeprefix("strokelab/").startswith(LIBRARY_FLOORS[library])
    ]
    assert not found


def test_readers_answer_without_torch():
    code = (
        "import sys, strokelab.cli, strokelab.data.check, strokelab.data.readers.atlas_v1, strokelab.phantoms.cohort;"
        "heavy = {'torch', 'lightning', 'matplotlib', 'wandb'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_idea_tables_name_files_that_exist():
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        named = re.findall(r"`((?:strokelab|conf|tests)/[\w/{},.-]+\.(?:py|yaml))`", page.read_text())
        assert named, f"{page.name} names no file"
        missing = [name for name in named if not (ROOT / name).is_file()]
        assert not missing, f"{page.name}: {missing}"


def test_nothing_committed_names_a_machine_or_a_placeholder():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    # Split, so that this file does not find itself.
    words = ("TO" + "DO", "FIX" + "ME", "Not" + "ImplementedError")
    marks = re.compile(r"(?<![\w.])/(?:work|home/\w+|root)/[A-Za-z.]|" + "|".join(rf"\b{word}\b" for word in words))
    found = []
    for name in listed.stdout.split():
        if name.endswith((".py", ".yaml", ".md", ".toml", ".cfg", "Makefile")) and (ROOT / name).is_file():
            found += [f"{name}: {hit.group()}" for hit in marks.finditer((ROOT / name).read_text())]
    assert not found
