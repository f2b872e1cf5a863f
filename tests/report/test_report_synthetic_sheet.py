"""The sheet of synthetic samples: its numbers by hand, its pictures, its files."""

import numpy as np
import pandas as pd
from PIL import Image

from strokelab.grid import Grid
from strokelab.nifti import read_voxels
from strokelab.report.synthetic_sheet import SheetSample, numbers, sheet_samples, write_sheet
from strokelab.synthesis.anatomy import Anatomy
from strokelab.synthesis.generator import Generator
from strokelab.synthesis.lesions import LesionMask

CLASSES = ("background", "GM", "lesion")


def sample(lesion=True):
    image = np.zeros((4, 5, 6), dtype=np.float32)
    target = np.zeros((3, 4, 5, 6), dtype=np.float32)
    target[0] = 1
    for number, (low, value) in enumerate(((0, 0.25), (2, 0.75)), start=1):
        if number == 2 and not lesion:
            continue
        image[low : low + 2, 0, 0] = value
        target[0, low : low + 2, 0, 0] = 0
        target[number, low : low + 2, 0, 0] = 1
    return SheetSample(image, target, {"flips": "x"})


def test_lesion_volume_and_class_means():
    found = numbers(sample(), CLASSES, spacing=10.0)
    assert found == {"lesion_ml": 2.0, "mean_background": 0.0, "mean_GM": 0.25, "mean_lesion": 0.75}
    assert np.isnan(numbers(sample(lesion=False), CLASSES, 10.0)["mean_lesion"])


def test_sheet_table_and_volumes_are_written(tmp_path):
    table = write_sheet([sample(), sample(lesion=False), sample()], CLASSES, tmp_path, columns=2, nifti=True)
    assert table["lesion_ml"].tolist() == [0.002, 0.0, 0.002]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "samples.csv"), table, check_dtype=False, rtol=1e-3)
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width < picture.height
    image, grid = read_voxels(tmp_path / "sample-03_image.nii.gz")
    np.testing.assert_array_equal(image, sample().image)
    assert grid.spacing == (1.0, 1.0, 1.0)
    labels, _ = read_voxels(tmp_path / "sample-02_dseg.nii.gz")
    assert set(np.unique(labels)) == {0, 1}


def test_each_sample_is_a_function_of_seed_and_number():
    grid = Grid.of((40, 40, 40), np.diag([4.0, 4, 4, 1]))
    inside = np.zeros(grid.shape, dtype=bool)
    inside[8:32, 8:32, 8:32] = True
    maps = np.zeros((4, *grid.shape), dtype=np.float32)
    maps[0], maps[1, 12:28] = inside, inside[12:28]
    maps[0] -= maps[1]
    lesion = np.zeros(grid.shape, dtype=np.uint8)
    lesion[12:24, 12:24, 12:24] = 1
    heads = [Anatomy("head", ("GM", "WM", "PV", "CSF"), maps, inside, grid)]
    settings = {"heads": heads, "lesions": [LesionMask("a", lesion, grid)], "size": 32}
    three = list(sheet_samples(Generator(), count=3, seed=1, **settings))
    two = list(sheet_samples(Generator(), count=2, seed=1, **settings))
    for one, again in zip(three, two, strict=False):
        np.testing.assert_array_equal(one.image, again.image)
        np.testing.assert_array_equal(one.target, again.target)
        assert one.facts == again.facts
        assert one.image.shape == (32, 32, 32)
        np.testing.assert_allclose(one.target.sum(axis=0), 1, atol=1e-5)
    assert (three[2].image != three[0].image).any()
    other = next(sheet_samples(Generator(), count=1, seed=2, **settings))
    assert (other.image != three[0].image).any()
