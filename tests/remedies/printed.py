"""Every text of the source that tells a user what to type: found by walking the syntax trees, whatever builds it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "strokelab").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])

HOLE = "\N{BULLET}"  # where a text has a value of the moment
KEY = rf"[+~]*(?:{HOLE}|[a-z_{HOLE}][\w{HOLE}]{{2,}}(?:[./@][\w{HOLE}]+)*)"
# A setting as one writes it: in a shell's quotes, or bare, with brackets, quotes or a plain word as its value.
_QUOTED = rf"(?P<mark>[\"'])(?P<quoted>{KEY}=(?:(?!(?P=mark)).)*)(?P=mark)"
_BARE = rf"(?<![\w{HOLE}./@-])(?P<bare>{KEY}=(?:\[[^\]]*\]|\{{[^}}]*\}}|'[^']*'|[^\s,;:)'\"`\[]*))"
_WORD = re.compile(f"{_QUOTED}|{_BARE}")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
COMMAND = re.compile(
    r"\b(?:strokelab (?:[a-z]+(?:-[a-z]+)?)\b|python (?:train|evaluate)\.py|pip install|wandb login|squeue|srun)"
)
EXTRA = re.compile(r"strokelab\[([a-z,]+)\]")
FILE = re.compile(r"\b(?:docs|conf)/[\w/.<>-]+\.(?:md|yaml)")


@dataclass(frozen=True)
class Text:
    """A text, where it stands, and whether an error or a warning says it."""

    place: str  # file:function
    line: int
    text: str
    part: str  # of the call it is an argument of: remedy, found, expected, ...; "" where it is none

    @property
    def told(self) -> bool:
        """Whether it tells a user what to do: a remedy, or a sentence that is printed and no part of a finding."""
        sentence = " " in self.text.strip() and self.part not in ("found", "expected", "help", "where", "default")
        return (self.part == "remedy" or sentence) and bool(
            words(self.text) or OPTION.search(self.text) or COMMAND.search(self.text)
        )


def words(text: str) -> list[str]:
    """The settings in a text, as a shell hands them over."""
    found = [match["quoted"] or match["bare"] for match in _WORD.finditer(text)]
    return [word.rstrip(".?!") if word[-3:] != "..." else word for word in found]


@cache
def texts() -> list[Text]:
    """All texts that are no docstrings; read once per process."""
    return [text for path in SOURCES for text in _of(path)]


def _of(path: Path) -> Iterator[Text]:
    file = str(path.relative_to(ROOT))

    def walk(node: ast.AST, function: str, part: str) -> Iterator[Text]:
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                function = node.name
                part = "remedy" if "remedy" in function.lower() else part
                for child in [*node.decorator_list, node.args]:
                    yield from walk(child, function, "default")
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            for child in body:
                yield from walk(child, function, part)
            return
        part = _part(node) or part
        whole = _template(node)
        if whole is not None:
            yield Text(f"{file}:{function}", getattr(node, "lineno", 0), whole, part)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(node, ast.Expr):
                continue  # a note under an attribute
            yield from walk(child, function, "where" if _is_where(node, child) else part)

    yield from walk(ast.parse(path.read_text()), "", "")


def _is_where(node: ast.AST, child: ast.AST) -> bool:
    """Whether a child is the first argument of an error."""
    if not isinstance(node, ast.Call) or not node.args or child is not node.args[0]:
        return False
    return str(getattr(node.func, "id", getattr(node.func, "attr", ""))).endswith("Error")


def _part(node: ast.AST) -> str:
    """What a node is for: the name of a keyword, or ``remedy`` where a variable of that name gets its value."""
    if isinstance(node, ast.keyword):
        return "remedy" if node.arg == "own" else node.arg or ""
    target = ""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        target = node.targets[0].id
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        target = node.target.id
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        target = node.func.value.id
    return "remedy" if "remedy" in target.lower() else ""


def _hole(part: ast.AST) -> str:
    """A value of the moment; of ``command_words.setting`` its key is known."""
    call = getattr(part, "value", None)
    if (
        isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "setting"
        and isinstance(call.args[0], ast.Constant)
    ):
        return f"{call.args[0].value}={HOLE}"
    return HOLE


def _template(node: ast.AST) -> str | None:
    """The text of a constant, an f-string or their sum, its values as holes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else _hole(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _template(node.left), _template(node.right)
        if left is not None or right is not None:
            return (left or HOLE) + (right or HOLE)
    return None
