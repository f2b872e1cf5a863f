"""A notebook as a page: its cells, without outputs. Knows JSON; runs nothing."""

from __future__ import annotations

import json
from pathlib import Path

_LANGUAGE = "python"


def markdown(path: Path) -> str:
    """The notebook's text and code as Markdown.

    Args:
        path: an ``.ipynb`` file.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```{_language(text)}\n{text}\n```")
    where = f"*This page is the notebook `docs/notebooks/{path.name}`; `make docs-test` runs it.*"
    title, _, rest = "\n\n".join(parts).partition("\n\n")
    return f"{title}\n\n{where}\n\n{rest}\n"


def _language(text: str) -> str:
    return "text" if text.startswith(("!", "%%bash")) else _LANGUAGE
