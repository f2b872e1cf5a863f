"""Figures of a report as sketches: drawing them as printed is two thirds of what a page takes.

``tests/report`` looks at printed figures; so does every command that is started as a process of its own.
"""


def sketch() -> None:
    """Draw figures at a fifth of the resolution, and no PDF: from now on, in this process and its forks."""
    from strokelab.report import drawing, pictures

    pictures.png = lambda figure: drawing.png(figure, dpi=40)
    pictures.pdf = lambda figure: b"%PDF-"
