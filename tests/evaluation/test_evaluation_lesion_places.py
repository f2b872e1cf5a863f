"""On which side a lesion lies, and in which regions."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from strokelab.errors import DataError
from strokelab.evaluation.lesion_places import Atlas, Sides, sides_of
from strokelab.grid import Grid
from strokelab.inference.registration_files import recorded
from strokelab.nifti import write_volume
from strokelab.phantoms.anatomy import mni_grid

MNI = mni_grid(4.0)


def at(grid: Grid, *points, radius=6.0):
    """A mask of balls at points of the world (mm)."""
    places = np.stack(np.indices(grid.shape), -1) @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    return np.logical_or.reduce([np.linalg.norm(places - np.asarray(point), axis=-1) < radius for point in points])


@pytest.mark.parametrize(
    ("points", "side"),
    [([(-30, 0, 0)], "left"), ([(30, 0, 0)], "right"), ([(-30, 0, 0), (30, 0, 0)], "both"), ([(0, 0, 0)], "both")],
)
def test_sides_in_mni_space(points, side):
    mask = at(MNI, *points)
    found = sides_of(mask, np.zeros(MNI.shape, np.float32), MNI, "c")
    assert (found.side, found.plane) == (side, "x = 0 in MNI space")
    assert found.left_ml + found.right_ml == pytest.approx(mask.sum() * 64 / 1000)
    # The same brain with its first axis towards the left.
    matrix = MNI.matrix @ np.diag([-1, 1, 1, 1])
    matrix[:3, 3] += MNI.matrix[:3, :3] @ [MNI.shape[0] - 1, 0, 0]
    turned = Grid.of(MNI.shape, matrix)
    assert sides_of(np.flip(mask, 0), np.zeros(MNI.shape, np.float32), turned, "c") == found


def test_no_lesion_and_small_shares():
    empty = sides_of(np.zeros(MNI.shape), np.zeros(MNI.shape, np.float32), MNI, "c")
    assert (empty.side, empty.left_ml, empty.right_ml) == ("none", 0, 0)
    assert Sides(96.0, 4.0, "").side == "left"
    assert Sides(94.0, 6.0, "").side == "both"


def test_a_head_that_lies_turned_beside_the_middle_of_its_scan():
    """The plane is the head's, not that of the volume: here a ball left of the head lies right of the middle."""
    spacing, shape = 3.0, (64, 72, 60)
    grid = Grid.of(shape, np.diag([spacing, spacing, spacing, 1.0]))
    places = np.stack(np.indices(shape), -1) * spacing
    turn = Rotation.from_euler("z", 12, degrees=True).as_matrix()
    head = (places - [125, 100, 90]) @ turn  # in the head's own axes
    brain = ((head / [55, 75, 60]) ** 2).sum(-1) < 1
    image = np.where(brain, 1 + np.cos(np.abs(head[..., 0]) / 6) * 0.3 + np.sin(head[..., 1] / 9) * 0.3, 0)
    image = image.astype(np.float32)
    for x, side in ((-18.0, "left"), (18.0, "right")):
        point = turn @ [x, 20.0, 0.0] + [125, 100, 90]
        assert point[0] > 96 - 1, "both lie right of the volume's middle"
        found = sides_of(at(grid, point), image, grid, "c")
        assert (found.side, found.plane) == (side, "symmetry of the image")
    blank = sides_of(at(grid, (150, 100, 90)), np.zeros(shape, np.float32), grid, "c")
    assert (blank.side, blank.plane) == ("right", "middle of the volume")


def atlas(folder, names="index\tname\n1\tleft half\n2\tright half\n", ending=".tsv") -> Atlas:
    grid = mni_grid(2.0)
    x = np.arange(grid.shape[0]) * 2.0 + grid.matrix[0, 3]
    labels = np.broadcast_to(np.where(abs(x) > 60, 0, np.where(x < 0, 1, 2))[:, None, None], grid.shape)
    write_volume(folder / "halves.nii.gz", labels.astype(np.uint8), grid)
    (folder / f"halves{ending}").write_text(names)
    return Atlas.read(folder / "halves.nii.gz")


def test_regions_of_a_lesion(tmp_path):
    halves = atlas(tmp_path)
    mask = at(MNI, (-30, 0, 0), (-40, 30, 20), (30, 0, 0), (75, 0, 0))
    found = halves.regions(mask, MNI, "c")
    assert found[0].name == "left half"
    assert {region.name for region in found} == {"left half", "right half", "outside"}
    assert sum(region.volume_ml for region in found) == pytest.approx(mask.sum() * 64 / 1000)
    assert sum(region.of_lesion for region in found) == pytest.approx(1)
    left = found[0]
    assert left.volume_ml == pytest.approx(at(MNI, (-30, 0, 0), (-40, 30, 20)).sum() * 64 / 1000)
    assert 0 < left.of_region < 0.01
    assert halves.regions(np.zeros(MNI.shape), MNI, "c") == []
    native = Grid.of(MNI.shape, MNI.matrix + np.eye(4, k=3) * 40)
    with pytest.raises(DataError, match="both in MNI space"):
        halves.regions(mask, native, "c")
    own = Grid.of((4, 4, 4), np.eye(4))
    write_volume(tmp_path / "own.nii.gz", np.full((4, 4, 4), 7, np.uint8), own)
    (region,) = Atlas.read(tmp_path / "own.nii.gz").regions(np.ones((4, 4, 4)), own, "c")
    assert (region.name, region.of_region) == ("label 7", 1.0)


def test_a_registered_scan_is_measured_where_the_template_has_it(tmp_path):
    """The same lesion by the scan's own grid and the matrix that brings it onto the template."""
    halves, mask = atlas(tmp_path), at(MNI, (-30, 0, 0), (-40, 30, 20), (30, 0, 0))
    in_template = np.eye(4)
    in_template[:3, :3] = Rotation.from_euler("xyz", [5, -8, 20], degrees=True).as_matrix()
    in_template[:3, 3] = 25, -40, 12
    native = MNI.moved(np.linalg.inv(in_template))
    found = halves.regions(mask, native, "c", in_template)
    assert found == halves.regions(mask, MNI, "c")
    sides = sides_of(mask, np.zeros(MNI.shape, np.float32), native, "c", in_template)
    known = sides_of(mask, np.zeros(MNI.shape, np.float32), MNI, "c")
    assert (sides.left_ml, sides.right_ml) == (known.left_ml, known.right_ml)
    assert sides.plane == "x = 0 after registration"
    write_volume(tmp_path / "sub-1_label-lesion_mask.nii.gz", mask.astype(np.uint8), native)
    assert recorded(tmp_path / "sub-1_label-lesion_mask.nii.gz") is None
    made = {"Registration": [{"ScanToTemplateRAS": in_template.tolist(), "BrainOverlapDice": 0.9}]}
    (tmp_path / "sub-1_label-lesion_mask.json").write_text(json.dumps(made))
    known = recorded(tmp_path / "sub-1_label-lesion_mask.nii.gz")
    assert np.array_equal(known.in_template, in_template)
    assert known.overlap == 0.9
    (tmp_path / "sub-1_label-lesion_mask.json").write_text('{"Registration": [{}]}')
    with pytest.raises(DataError, match="record of a registration"):
        recorded(tmp_path / "sub-1_label-lesion_mask.nii.gz")


@pytest.mark.parametrize(
    ("ending", "names"),
    [
        (".csv", "name,label\nleft half,1\nright half,2\n"),
        (".txt", "# No. Label Name R G B A\n0 Unknown 0 0 0 0\n1 left-half 1 2 3 0\n2 right-half 4 5 6 0\n"),
        (".json", '{"1": "left half", "2": "right half"}'),
    ],
)
def test_tables_of_names(tmp_path, ending, names):
    found = {key: value.replace("-", " ") for key, value in atlas(tmp_path, names, ending).names.items()}
    assert found | {0: ""} == {0: "", 1: "left half", 2: "right half"}


def test_what_is_no_atlas(tmp_path):
    write_volume(tmp_path / "a.nii.gz", np.full((4, 4, 4), 0.3, np.float32), Grid.of((4, 4, 4), np.eye(4)))
    with pytest.raises(DataError, match="whole numbers"):
        Atlas.read(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="no table of names"):
        atlas(tmp_path, "[1", ".json")
