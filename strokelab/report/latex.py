"""A table of the page as LaTeX (booktabs), foreign text escaped. Knows cells; knows no evaluation and no file."""

from __future__ import annotations

import re

from strokelab.report.cells import Cell, Table

PREAMBLE = "% \\usepackage{booktabs} % and longtable for tables that break over pages"

_LONG = 45  # rows that fit on a page
_WIDE = 30  # characters of a word cell that are not broken

_NOTHING = "\x00"  # keeps two characters apart

_ASCII = {
    **{"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{character: f"\\{character}" for character in "&%$#_"},
    # In text mode these print as other characters, or would be read as an argument of the row's end.
    **{"<": "$<$", ">": "$>$", "|": r"\textbar{}", '"': r"{\ttfamily\char34}", "`": r"\textasciigrave{}"},
    **{"[": "{[}", "]": "{]}", "*": "{*}"},
}
_SYMBOLS = {
    **{"±": r"$\pm$", "∞": r"$\infty$", "−": "$-$", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$", "·": r"$\cdot$"},
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "²": "$^2$", "³": "$^3$", "µ": r"$\mu$"},
    **{
        "–": "--",
        "—": "---",
        "“": "``",
        "”": "''",
        "‘": "`",
        "’": "'",
        "…": r"\dots{}",
        "†": r"\dag{}",
        "°": r"$^\circ$",
    },
    **{"\u00a0": "~", "\u202f": "~", "\u2009": r"\,", _NOTHING: "{}"},
}
_TRANSLATION = str.maketrans({**_ASCII, **_SYMBOLS})


def escape(text: str) -> str:
    """Foreign text as LaTeX: every character prints as itself, none is a command; line breaks become spaces.

    Letters beyond ASCII stay as they are: pdfLaTeX knows the European ones, LuaLaTeX and XeLaTeX all of their font.
    """
    visible = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029 ]+", " ", text)
    # Two hyphens would print as a dash.
    return re.sub("-(?=-)", f"-{_NOTHING}", visible).translate(_TRANSLATION)


def latex_table(table: Table) -> str:
    r"""A floating ``table``, or a ``longtable`` where the rows do not fit on one page.

    Args:
        table: of the page; its caption stands above, its notes below, ``\label{tab:<name>}`` names it.

    Returns:
        LaTeX source that needs the packages booktabs (and longtable), first line says so.
    """
    columns = "".join(_alignment([row[i] for row in table.rows]) for i in range(len(table.header)))
    header = " & ".join(escape(name) for name in table.header) + r" \\"
    body = [" & ".join(escape(cell.text) for cell in row) + r" \\" for row in table.rows]
    caption = f"\\caption{{{escape(table.caption)}}}\\label{{tab:{re.sub(r'[^A-Za-z0-9-]+', '-', table.name)}}}"
    notes = [escape(note) for note in table.notes]
    if notes:
        below = r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize\raggedright"
        notes = [below, "\\par\n".join(notes), r"\end{minipage}\par"]
    if len(table.rows) > _LONG:
        lines = [
            f"\\begin{{longtable}}{{{columns}}}",
            caption + r" \\",
            r"\toprule",
            header,
            r"\midrule",
            r"\endfirsthead",
        ]
        lines += [
            r"\toprule",
            header,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *body,
            r"\end{longtable}",
            *notes,
        ]
    else:
        lines = [r"\begin{table}", r"\centering", r"\small", caption, f"\\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines += [header, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}"]
    return "\n".join([PREAMBLE, *lines]) + "\n"


def _alignment(cells: list[Cell]) -> str:
    """Numbers to the right, names to the left, long words in lines."""
    if any(cell.words and len(cell.text) > _WIDE for cell in cells):
        return "p{5cm}"
    shown = [cell for cell in cells if not cell.heading]
    return "r" if shown and any(cell.number is not None for cell in shown) else "l"
