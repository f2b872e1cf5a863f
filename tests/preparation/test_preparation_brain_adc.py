import numpy as np
import pytest
from preparation_cases import head, oriented, save

from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.preparation.adc import adc_factor
from strokelab.preparation.brain import estimate_brain, find_brain, is_skull_stripped, otsu_threshold
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.template import MNI, in_mni_box, template_brain

SHAPE = (10, 12, 8)


def ball(shape, radius):
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return np.sqrt((grid**2).sum(0)) < radius


def test_a_file_of_the_case_comes_first(make_case):
    brain = np.zeros(SHAPE, dtype=np.uint8)
    brain[3:6, 4:7, 2:5] = 255
    case = make_case(brain=brain, images={"T1w": head(SHAPE) * ball(SHAPE, 0.9)})
    prepared = prepare(case, Preparation(("T1w",)))
    assert prepared.brain_source == "file"
    np.testing.assert_array_equal(prepared.brain, brain > 0)


def test_an_empty_brain_file_and_one_on_another_grid_are_refused(make_case):
    with pytest.raises(DataError, match="without a single voxel"):
        prepare(make_case("empty", brain=np.zeros(SHAPE, dtype=np.uint8)), Preparation(("T1w",)))
    case = make_case("moved", brain=np.ones(SHAPE, dtype=np.uint8))
    save(case.brain, np.ones(SHAPE, dtype=np.uint8), oriented("RAS", SHAPE) @ np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3))
    with pytest.raises(DataError) as error:
        prepare(case, Preparation(("T1w",)))
    assert "brain.nii" in str(error.value)
    assert "T1w.nii" in str(error.value)


def test_zero_background_is_the_brain_negatives_included(make_case):
    voxels = head(SHAPE) * ball(SHAPE, 0.9)
    voxels[5, 6, 4] = -3
    prepared = prepare(make_case(images={"T1w": voxels}), Preparation(("T1w",)))
    assert prepared.brain_source == "nonzero"
    np.testing.assert_array_equal(prepared.brain, voxels != 0)


def test_whole_heads_on_zeroed_air_are_not_taken_for_brains():
    shape = (100, 100, 100)
    voxels = ball(shape, 0.85).astype(np.float32)  # about 41 % of the box
    small, large = (Grid.of(shape, np.diag([s, s, s, 1.0])) for s in (1.5, 2.6))
    assert is_skull_stripped(voxels, small)  # about 1.4 litres
    assert not is_skull_stripped(voxels, large)  # about 7 litres


def test_template_on_its_own_grid_voxel_for_voxel():
    brain = template_brain(MNI)
    assert int(brain.sum()) == 1_882_989
    where = np.argwhere(brain)
    assert where.min(0).tolist() == [26, 27, 0]
    assert where.max(0).tolist() == [170, 207, 154]
    np.testing.assert_array_equal(brain[1:98], brain[195:98:-1])  # symmetric about voxel 98
    assert (brain.any(axis=(0, 1))).sum() == 155


def test_template_on_a_flipped_and_on_a_coarse_grid():
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 196
    flipped = Grid.of(MNI.shape, MNI.matrix @ flip)
    np.testing.assert_array_equal(template_brain(flipped), template_brain(MNI)[::-1])
    coarse = MNI.resized((4.0, 4.0, 4.0))
    assert in_mni_box(coarse)
    volume = template_brain(coarse).sum() * coarse.voxel_volume_mm3
    assert volume == pytest.approx(1_882_989, rel=0.02)


@pytest.mark.parametrize(
    ("change", "inside"),
    [
        (np.eye(4), True),
        (np.array([[1, 0, 0, 0.8], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), True),
        (np.array([[1, 0, 0, 3.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), False),
        (np.array([[1, 0.05, 0, 0], [-0.05, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), False),
    ],
)
def test_only_aligned_grids_of_the_mni_box_count_as_mni(change, inside):
    assert in_mni_box(Grid.of(MNI.shape, change @ MNI.matrix)) is inside


def test_a_whole_head_on_the_mni_box_gets_the_template(make_case):
    grid = MNI.resized((6.0, 6.0, 6.0))
    case = make_case(images={"T1w": head(grid.shape)}, affine=grid.matrix)
    prepared = prepare(case, Preparation(("T1w",)))
    assert prepared.brain_source == "mni152"
    np.testing.assert_array_equal(prepared.brain, template_brain(grid))


def test_elsewhere_the_brain_is_estimated(make_case):
    prepared = prepare(make_case(), Preparation(("T1w",)))
    assert prepared.brain_source == "estimated"
    assert prepared.brain.any()


def test_estimate_keeps_the_ball_fills_its_hole_and_drops_the_scalp():
    shape = (40, 40, 40)
    truth = ball(shape, 0.6)
    voxels = np.random.default_rng(0).normal(20, 4, shape).astype(np.float32)
    voxels[truth] = 300
    voxels[ball(shape, 0.15)] = 0  # a dark ventricle
    voxels[ball(shape, 0.9) & ~ball(shape, 0.8)] = 320  # a shell of skin
    voxels[19:21, 19:21, :] = np.maximum(voxels[19:21, 19:21, :], 250)  # a bridge between them
    found = estimate_brain(voxels, Grid.of(shape, np.diag([2.0, 2, 2, 1])))
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95


def test_threshold_lies_between_two_classes():
    values = np.concatenate([np.full(500, 10.0), np.full(300, 90.0)]).astype(np.float32)
    assert 10 < otsu_threshold(values) < 90


@pytest.mark.parametrize(("scale", "factor"), [(0.0009, 1e6), (0.9, 1e3), (900.0, 1.0)])
def test_adc_factor(scale, factor):
    values = np.random.default_rng(0).uniform(0.3, 4.5, SHAPE).astype(np.float32) * np.float32(scale)
    assert adc_factor(values, np.ones(SHAPE, dtype=bool), "adc.nii") == factor


@pytest.mark.parametrize("how", ["zscore_slice_brain", "none"])
def test_three_adc_units_give_the_same_prepared_values(make_case, how):
    base = np.random.default_rng(0).uniform(300, 4000, SHAPE).astype(np.float32) * ball(SHAPE, 0.9)
    results = [
        prepare(
            make_case(f"u{i}", images={"ADC": (base * scale).astype(np.float32)}), Preparation(("ADC",), normalize=how)
        )
        for i, scale in enumerate((1.0, 1e-3, 1e-6))
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result.image, results[0].image, rtol=1e-3, atol=1e-3)
    if how == "none":
        np.testing.assert_allclose(results[2].image[0], base, rtol=1e-3)


def test_an_adc_map_without_positive_values_is_refused(make_case):
    voxels = -np.random.default_rng(0).uniform(1, 2, SHAPE).astype(np.float32) * ball(SHAPE, 0.9)
    with pytest.raises(DataError, match="ADC map"):
        prepare(make_case(images={"ADC": voxels}), Preparation(("ADC",)))


def test_perfusion_outliers_are_clipped_inside_the_brain(make_case):
    voxels = np.random.default_rng(0).uniform(1, 2, SHAPE).astype(np.float32) * ball(SHAPE, 0.9)
    voxels[5, 6, 4] = 1e6
    prepared = prepare(make_case(images={"Tmax": voxels}), Preparation(("Tmax",), normalize="none"))
    assert prepared.image.max() <= 2.0 + 1e-6
    other = prepare(make_case("b", images={"DWI": voxels}), Preparation(("DWI",), normalize="none"))
    assert other.image.max() == 1e6


def test_find_brain_never_returns_an_empty_mask(make_case):
    case = make_case()
    voxels = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    mask, source = find_brain(case, Grid.of(SHAPE, np.eye(4)), voxels)
    assert source == "estimated"
    assert mask.any()
