import dataclasses

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from PIL import Image

from strokelab.report.drawing import png
from strokelab.report.material import Overlay
from strokelab.report.overlays import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    PLANES,
    TRUE_POSITIVE,
    qc_picture,
    three_planes,
    through_largest_lesion,
)

AXIAL, CORONAL, SAGITTAL = PLANES


def marked(where: tuple[int, int, int]) -> np.ndarray:
    array = np.zeros((5, 6, 7))
    array[where] = 1
    return array


def position(picture: np.ndarray) -> tuple[str, str]:
    (row,), (column,) = np.nonzero(picture)
    rows, columns = picture.shape
    return ("top" if row == 0 else "bottom" if row == rows - 1 else "?"), (
        "left" if column == 0 else "right" if column == columns - 1 else "?"
    )


@pytest.mark.parametrize(
    ("plane", "voxel", "place"),
    [
        (AXIAL, (4, 5, 3), ("top", "left")),  # right and anterior of a RAS+ array
        (AXIAL, (0, 0, 3), ("bottom", "right")),
        (CORONAL, (4, 2, 6), ("top", "left")),  # right and superior
        (SAGITTAL, (2, 5, 6), ("top", "left")),  # anterior and superior
        (SAGITTAL, (2, 0, 0), ("bottom", "right")),
    ],
)
def test_radiological_orientation(plane, voxel, place):
    assert position(plane.cut(marked(voxel), voxel[plane.normal])) == place
    letters = {"left": plane.left, "right": plane.right, "top": plane.top, "bottom": plane.bottom}
    meaning = {"R": voxel[0] == 4, "L": voxel[0] == 0, "A": voxel[1] == 5, "P": voxel[1] == 0}
    meaning |= {"S": voxel[2] == 6, "I": voxel[2] == 0}
    assert all(meaning[letters[side]] for side in place)


def test_planes_keep_anisotropic_sizes():
    assert AXIAL.size_mm(np.zeros((10, 20, 5)), (1.0, 2.0, 6.0)) == (10.0, 40.0)
    assert CORONAL.size_mm(np.zeros((10, 20, 5)), (1.0, 2.0, 6.0)) == (10.0, 30.0)


def test_cuts_go_through_the_largest_lesion():
    mask = np.zeros((20, 20, 20))
    mask[1:3, 1:3, 1:3] = 1
    mask[10:15, 11:16, 12:17] = 1
    mask[12, 13, 9:18] = 1
    x, y, z = through_largest_lesion(mask)
    assert (x, y) == (12, 13)
    assert 12 <= z < 17
    assert through_largest_lesion(np.zeros((9, 11, 4))) == (4, 5, 2)


def colours_in(data: bytes, tmp_path) -> np.ndarray:
    path = tmp_path / "p.png"
    path.write_bytes(data)
    return np.asarray(Image.open(path).convert("RGB"), dtype=int).reshape(-1, 3)


def near(pixels: np.ndarray, colour: str) -> int:
    return int((np.abs(pixels - np.asarray(to_rgb(colour)) * 255).max(axis=1) < 12).sum())


def test_each_kind_of_voxel_has_its_colour(overlay, tmp_path):
    dark = dataclasses.replace(overlay, image=np.zeros_like(overlay.image))
    both = colours_in(png(three_planes([dark])), tmp_path)
    perfect = colours_in(png(three_planes([dataclasses.replace(dark, prediction=dark.reference)])), tmp_path)
    assert min(near(both, colour) for colour in (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)) > 300
    # without an error only the legend shows the other two
    assert near(perfect, FALSE_POSITIVE) < near(both, FALSE_POSITIVE)
    assert near(perfect, FALSE_NEGATIVE) < near(both, FALSE_NEGATIVE)


def test_a_probable_prediction_is_redder_than_an_unlikely_one(overlay):
    for p, opacity in ((0.01, 0.0), (0.3, 0.27), (0.9, 0.81)):
        probability = np.where(overlay.prediction, p, 0.0).astype(np.float32)
        figure = three_planes([dataclasses.replace(overlay, probability=probability)])
        layers = [image.get_array() for image in figure.findobj(AxesImage) if image.get_array().ndim == 3]
        red = [layer for layer in layers if layer[..., 0].max() > layer[..., 2].max()]
        assert max((float(layer[..., 3].max()) for layer in red), default=0.0) == pytest.approx(opacity)
        assert len(layers) - len(red) == 3, "the reference is blue"


def test_shapes_must_agree(overlay):
    with pytest.raises(ValueError, match="one shape"):
        three_planes([dataclasses.replace(overlay, image=np.zeros((3, 3, 3)))])


@pytest.mark.parametrize("image", [np.zeros((12, 14, 5)), np.full((12, 14, 5), np.nan), np.random.rand(12, 14, 5)])
def test_qc_picture_of_an_empty_mask_and_any_image(tmp_path, image):
    path = qc_picture(image, np.zeros(image.shape), (1, 1, 6), tmp_path / "new" / "qc.png", title="odd $name")
    with Image.open(path) as picture:
        assert picture.size[0] == 704
        assert picture.size[1] > 150
    assert list(path.parent.iterdir()) == [path]


def test_qc_picture_shows_the_mask(tmp_path):
    image = np.zeros((30, 30, 30))
    mask = np.zeros(image.shape, np.uint8)
    empty = qc_picture(image, mask, (1, 1, 1), tmp_path / "a.png").read_bytes()
    mask[10:20, 10:20, 10:20] = 1
    full = qc_picture(image, mask, (1, 1, 1), tmp_path / "b.png").read_bytes()
    assert near(colours_in(empty, tmp_path), "#E69F00") == 0
    assert near(colours_in(full, tmp_path), "#E69F00") > 100


def test_qc_title_tells_volume_and_number(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda self, text, **_: titles.append(text))
    mask = np.zeros((10, 10, 10))
    mask[:5, :5, :4] = 1
    mask[8, 8, 8] = 1
    qc_picture(np.zeros(mask.shape), mask, (2, 2, 5), tmp_path / "a.png", title="sub-1")
    assert titles == ["sub-1: 2.02 ml in 2 lesions"]


def test_letters_are_legible_on_any_ground():
    """At the size shown an L has its foot: the lowest row of its bright pixels is the widest."""
    overlay = Overlay("x", "c", 1.0, np.ones((20, 22, 18)), marked_block(), marked_block(), (4.0, 4.0, 4.0))
    figure = three_planes([overlay])
    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].min(axis=2)
    letters = {"L": 0, "R": 0, "I": 0}
    for text in (text for axes in figure.findobj(Axes) for text in axes.texts):
        box = text.get_window_extent()
        rows = slice(pixels.shape[0] - int(np.ceil(box.y1)), pixels.shape[0] - int(box.y0))
        bright = (pixels[rows, int(box.x0) : int(np.ceil(box.x1))] > 160).sum(axis=1)
        used = bright[bright > 0]
        assert used.size >= 7, "seven rows of pixels at least"
        letters[text.get_text()] = used[-1] / used[0]
    assert letters["L"] > 1.5 * letters["I"]


def marked_block() -> np.ndarray:
    mask = np.zeros((20, 22, 18), dtype=np.uint8)
    mask[8:12, 9:13, 7:11] = 1
    return mask
