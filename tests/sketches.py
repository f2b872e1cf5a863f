"""Figures of a report as sketches: drawing them as printed is two thirds of what a page takes.

``tests/report`` looks at printed figures; so does every command that is started as a process of its own.
"""

import io


def sketch(*, blank: bool = False) -> None:
    """From now on, in this process and its forks: figures at a fifth of the resolution, or as one pixel; no PDF."""
    from PIL import Image

    from strokelab.report import drawing, pictures

    pictures.pdf = lambda figure: b"%PDF-"
    pictures.png = lambda figure, photo=False: drawing.png(figure, dpi=40, photo=photo)
    if blank:
        pixel = io.BytesIO()
        Image.new("L", (1, 1)).save(pixel, format="png")
        pictures.png = lambda figure, photo=False: pixel.getvalue()
