"""Units, voxel sizes, and the two forms of a header: read in mm, named where they are odd, carried into outputs."""

import itertools
import shlex
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from strokelab.contract import LesionFile
from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid
from strokelab.metrics import score_case
from strokelab.nifti import read_grid, read_lesion, read_voxels, write_volume

SHAPE = (5, 6, 7)
AFFINE = np.diag([4.0, 4, 4, 1])
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(path, affine=AFFINE, *, unit="mm", shape=SHAPE, codes=(0, 2), qform=None, voxels=None):
    image = nib.Nifti1Image(np.ones(shape, np.uint8) if voxels is None else voxels, None)
    image.header.set_xyzt_units(unit)
    image.header.set_qform(affine if qform is None else qform, codes[0])
    image.header.set_sform(affine, codes[1])
    nib.save(image, path)
    return path


def paste(remedy):
    """Run the Python code of the line for the shell that a remedy ends with."""
    words = shlex.split(remedy[remedy.index("python -c") :])
    exec(words[2], {})


def scaled(factor):
    return AFFINE * np.array([[factor]] * 3 + [[1]])


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [(0, 2), (1, 0), (1, 1), (0, 0)])
@pytest.mark.parametrize(("unit", "factor", "said"), [("meter", 1e-3, "1000"), ("micron", 1e3, "0.001")])
def test_lengths_come_in_millimetres(unit, factor, said, codes, tmp_path):
    path = save(tmp_path / "a.nii.gz", scaled(factor), unit=unit, codes=codes)
    with pytest.warns(DataWarning, match=rf"a\.nii\.gz: lengths in .*met.* multiplied by {said} to mm"):
        grid = read_grid(path)
    assert grid.spacing == pytest.approx((4, 4, 4))
    out = write_volume(tmp_path / "out.nii.gz", np.ones(SHAPE, np.uint8), grid)
    assert nib.load(out).header.get_xyzt_units()[0] == "mm"
    assert read_grid(out).matches(grid)


@pytest.mark.parametrize("unit", ["mm", "unknown"])
def test_millimetres_and_no_unit_are_read_without_a_word(unit, tmp_path, recwarn):
    assert read_grid(save(tmp_path / "a.nii.gz", unit=unit)).spacing == (4, 4, 4)
    assert not [w for w in recwarn if issubclass(w.category, DataWarning)]


def test_a_unit_that_is_none_is_named(tmp_path):
    whole = bytearray(save(tmp_path / "a.nii").read_bytes())
    whole[123] = 6
    (tmp_path / "a.nii").write_bytes(whole)
    with pytest.warns(DataWarning, match="6 is no code of a unit"):
        assert read_grid(tmp_path / "a.nii").spacing == (4, 4, 4)


@pytest.mark.filterwarnings("ignore:.*multiplied")
def test_one_lesion_in_two_units_is_one_lesion(tmp_path):
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[1:4, 2:4, 3:5] = 1
    one = save(tmp_path / "mm.nii.gz", voxels=voxels)
    for unit, factor in (("meter", 1e-3), ("micron", 1e3)):
        other = save(tmp_path / f"{unit}.nii.gz", scaled(factor), unit=unit, voxels=voxels)
        assert read_grid(other).voxel_volume_mm3 == pytest.approx(64)
        for pair in ((one, other), (other, one)):
            assert score_case(*pair, None)["dice"] == 1


@pytest.mark.parametrize(
    ("affine", "unit", "likely"),
    [
        (scaled(1e3), "mm", "micron"),
        (scaled(1e3), "unknown", "micron"),
        (scaled(1e-3), "mm", "meter"),
        (AFFINE, "meter", "mm"),
        (AFFINE, "micron", "mm"),
    ],
)
@pytest.mark.filterwarnings("ignore::strokelab.errors.DataWarning")
def test_sizes_that_only_another_unit_explains_are_refused(affine, unit, likely, tmp_path):
    path = save(tmp_path / "a.nii.gz", affine, unit=unit)
    for reader in (read_grid, read_voxels):
        with pytest.raises(DataError, match=r"a\.nii\.gz") as caught:
            reader(path)
    assert "0.1 to 20 mm" in caught.value.expected
    paste(caught.value.remedy)
    assert likely in caught.value.remedy
    assert read_grid(tmp_path / "a_mended.nii.gz").spacing == pytest.approx((4, 4, 4))


@pytest.mark.parametrize(
    ("sizes", "shape", "warned"),
    [
        ((8, 8, 8), SHAPE, False),
        ((0.1, 0.1, 20), SHAPE, False),
        ((1, 1, 40), (5, 6, 1), False),  # a single slice may be as thick as it likes
        ((1, 1, 40), SHAPE, True),
        ((0.05, 1, 1), SHAPE, True),
    ],
)
def test_odd_sizes_are_named(sizes, shape, warned, tmp_path, recwarn):
    assert read_grid(save(tmp_path / "a.nii.gz", np.diag([*sizes, 1]), shape=shape)).spacing == pytest.approx(sizes)
    said = [str(w.message) for w in recwarn if issubclass(w.category, DataWarning)]
    assert bool(said) is warned
    assert all("a.nii.gz" in line and "20 mm" in line for line in said)


# --- two forms -------------------------------------------------------------------------------------------------------


def moved(affine, by):
    other = np.array(affine)
    other[2, 3] += by
    return other


def test_two_forms_apart_are_named_with_the_distance(tmp_path):
    path = save(tmp_path / "a.nii.gz", codes=(1, 1), qform=moved(AFFINE, 15))
    with pytest.warns(DataWarning, match=r"a\.nii\.gz: sform .* 15 mm apart \(3\.75 voxels\); the sform is used"):
        grid = read_grid(path)
    assert np.array_equal(grid.matrix, AFFINE)


@pytest.mark.parametrize(("codes", "by"), [((1, 1), 0.3), ((0, 1), 15), ((1, 0), 15)])
def test_forms_that_agree_or_do_not_count_are_read_without_a_word(codes, by, tmp_path, recwarn):
    read_grid(save(tmp_path / "a.nii.gz", codes=codes, qform=moved(AFFINE, by)))
    assert not [w for w in recwarn if issubclass(w.category, DataWarning)]


def affine_of(angles, sizes, shift):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * sizes
    affine[:3, 3] = shift
    return affine


oblique = st.builds(
    affine_of,
    st.tuples(*[st.one_of(st.sampled_from([0.0, 90.0, 180.0]), st.floats(-180, 180))] * 3),
    st.tuples(st.sampled_from([-2.0, 1.0]), *[st.sampled_from([0.5, 1.0, 4.0])] * 2),
    st.tuples(*[st.floats(-150, 150)] * 3),
)


@often
@given(affine=oblique, near=st.floats(-0.05, 0.05))
def test_rounding_of_quaternions_is_no_difference(affine, near, tmp_path):
    """The qform keeps angles in single precision: near half turns a corner is tenths of a millimetre off."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    half_turn = Rotation.from_euler("xyz", (180 + near, near, -near), degrees=True).as_matrix()
    affine[:3, :3] = half_turn @ (affine[:3, :3] / sizes) @ np.diag(sizes)
    shape = (240, 250, 3)
    paths = [tmp_path / name for name in ("both.nii", "q.nii", "s.nii")]
    for path, codes in zip(paths, ((1, 1), (1, 0), (0, 1)), strict=True):
        save(path, affine, shape=shape, codes=codes)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        grids = [read_grid(path) for path in paths]
    for one, other in itertools.permutations(grids, 2):
        assert one.matches(other)


def header_of(path):
    header = nib.load(path).header
    names = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    rows = ("srow_x", "srow_y", "srow_z")
    return (
        [float(header[name]) for name in names],
        [header[row].tolist() for row in rows],
        header["pixdim"][:4].tolist(),
    )


@pytest.mark.parametrize("codes", [*itertools.product(range(5), repeat=2)])
@pytest.mark.filterwarnings("ignore:.*the sform is used")
def test_what_is_written_has_both_forms_and_codes_of_its_input(codes, tmp_path):
    affine = affine_of((170, 20, -80), (-1, 2, 3), (-20, 30, 5))
    path = save(tmp_path / "a.nii.gz", affine, codes=codes, qform=moved(affine, 12))
    grid = Grid.from_json(read_grid(path).to_json())
    out = write_volume(tmp_path / "b.nii.gz", np.ones(SHAPE, np.float32), grid)
    assert header_of(out) == header_of(path)
    assert np.array_equal(nib.load(out).affine, nib.load(path).affine)
    assert read_grid(out) == read_grid(path) == grid


@often
@given(affine=oblique, codes=st.tuples(st.integers(0, 4), st.integers(0, 4)), shear=st.floats(0, 0.3))
def test_oblique_and_sheared_forms_come_back_bit_for_bit(affine, codes, shear, tmp_path):
    sform = affine.copy()
    sform[0, 1] += shear  # a qform holds no shear
    path = save(tmp_path / "a.nii.gz", sform, codes=codes, qform=affine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        out = write_volume(tmp_path / "b.nii.gz", np.ones(SHAPE, np.uint8), read_grid(path))
    assert header_of(out) == header_of(path)


def test_grids_of_other_formats_are_written_as_their_affine_says(tmp_path):
    nib.save(nib.MGHImage(np.ones(SHAPE, np.float32), moved(AFFINE, 3)), tmp_path / "a.mgz")
    grid = read_grid(tmp_path / "a.mgz")
    assert grid.forms is None
    image = nib.load(write_volume(tmp_path / "b.nii.gz", np.ones(SHAPE, np.uint8), grid))
    assert np.allclose(image.affine, moved(AFFINE, 3))
    assert np.allclose(image.get_qform(), moved(AFFINE, 3))


def test_forms_are_no_part_of_what_a_grid_is(tmp_path):
    grid = read_grid(save(tmp_path / "a.nii.gz", codes=(1, 1)))
    bare = Grid.of(grid.shape, grid.matrix)
    assert grid == bare
    assert hash(grid) == hash(bare)
    assert grid.matches(bare)
    assert bare.forms is None is not grid.forms


def test_a_form_that_cannot_be_computed_is_refused_and_can_be_left_away(tmp_path):
    whole = bytearray(save(tmp_path / "a.nii", codes=(1, 1)).read_bytes())
    whole[256:260] = np.float32(7).tobytes()  # quatern_b
    (tmp_path / "a.nii").write_bytes(whole)
    with pytest.raises(DataError, match="qform") as caught:
        read_grid(tmp_path / "a.nii")
    paste(caught.value.remedy)
    assert np.array_equal(read_grid(tmp_path / "a_mended.nii.gz").matrix, AFFINE)


def test_a_mask_that_states_no_place_is_not_turned_by_a_guess(tmp_path):
    """Without codes nibabel takes the first axis to run to the left: of an image to the right that is a flip."""
    placed = affine_of((0, 0, 0), (4, 4, 4), (-8, -10, -12))
    image = read_grid(save(tmp_path / "image.nii.gz", placed))
    path = save(tmp_path / "m.nii.gz", placed, codes=(0, 0))
    assert read_grid(path).orientation == "LAS"
    with pytest.raises(DataError, match=r"m\.nii\.gz"):
        read_lesion([LesionFile(path)], image, tmp_path / "image.nii.gz")
    turned = read_lesion([LesionFile(write_volume(path, np.ones(SHAPE, np.uint8), bare(path)))], image, path)
    assert turned.all()


def bare(path):
    grid = read_grid(path)
    return Grid.of(grid.shape, grid.matrix)
