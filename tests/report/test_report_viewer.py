import base64
import dataclasses
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_material import case_row, case_table

from strokelab.report import viewer
from strokelab.report.material import Evaluation, Overlay, RunMaterial
from strokelab.report.viewer import Packed, as_json, columns_of, viewer_case, viewer_cases, worst


def unpacked(packed: Packed) -> np.ndarray:
    """The volume of a mosaic, by the rule of the page's script."""
    with Image.open(io.BytesIO(base64.b64decode(packed.src.partition(",")[2]))) as image:
        mosaic = np.asarray(image.convert("L"))
    x, y, z = packed.shape
    columns = math.ceil(math.sqrt(z))
    volume = np.zeros(packed.shape, np.uint8)
    for k in range(z):
        row, column = (k // columns) * y, (k % columns) * x
        volume[:, :, k] = mosaic[row : row + y, column : column + x].T
    return volume


def overlay_of(reference: np.ndarray, prediction: np.ndarray, image: np.ndarray | None = None, **more) -> Overlay:
    image = np.random.default_rng(1).random(reference.shape) if image is None else image
    arrays = {"image": image, "reference": reference, "prediction": prediction}
    return Overlay(**{"label": "worst", "case": "c", "dice": 0.1, "spacing": (1.0, 1.0, 1.0)} | arrays | more)


masks = st.integers(0, 2**16 - 1)


@settings(max_examples=20, deadline=None)
@given(st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(1, 12)), masks, masks)
def test_marks_arrive_voxel_by_voxel(shape, one, other):
    reference, prediction = (np.random.default_rng(seed).random(shape) < 0.2 for seed in (one, other))
    case = viewer_case(overlay_of(reference, prediction), "t", most_bytes=10**6)
    kinds = np.rint(unpacked(case.marks) / 85).astype(int)
    whole = np.zeros(shape, int)
    whole[tuple(slice(a, a + n) for a, n in zip(case.first, case.crop, strict=True))] = kinds
    assert (whole == np.select([reference & prediction, prediction, reference], [1, 2, 3], 0)).all()
    assert case.counts == tuple((whole == code).sum() for code in (1, 2, 3))
    assert case.marks.step == (1, 1, 1)
    assert case.full == shape


def test_the_image_arrives_where_it_was():
    image = np.zeros((40, 50, 30))
    image[5:35, 5:45, 4:26] = 60.0
    image[20:30, 30:40, 10:20] = 100.0
    mask = np.zeros(image.shape)
    mask[22, 32, 12] = 1
    case = viewer_case(overlay_of(mask, mask, image), "t", most_bytes=10**6)
    grey = unpacked(case.image).astype(float)
    x, y, z = (a - b for a, b in zip((25, 35, 15), case.first, strict=True))
    assert grey[x, y, z] > 245
    assert grey[x - 15, y, z] == pytest.approx(0.6 * 255, abs=8)
    assert case.image.step == (1, 1, 1)
    assert grey.shape == case.crop
    assert case.places == ((22 - case.first[0], 32 - case.first[1], 12 - case.first[2]), None, None)


def test_a_budget_makes_the_image_coarser_and_leaves_the_marks():
    rng = np.random.default_rng(0)
    image, mask = rng.random((100, 100, 40)), np.zeros((100, 100, 40))
    mask[10:20, 10:20, 10] = 1
    case = viewer_case(overlay_of(mask, mask, image, spacing=(1.0, 1.0, 5.0)), "t", most_bytes=60_000)
    assert case.image.step[0] > 1
    assert case.image.step[2] == 1  # slices are thick already
    assert case.marks.step == (1, 1, 1)
    assert len(base64.b64decode(case.image.src.partition(",")[2])) <= 60_000
    assert unpacked(case.image).shape == case.image.shape


def test_a_huge_scan_shows_a_miss_rather_than_a_hit(monkeypatch):
    monkeypatch.setattr(viewer, "_PIXELS", 500)
    reference, prediction = np.zeros((10, 10, 10)), np.zeros((10, 10, 10))
    reference[4:6, 4, 4] = 1  # one voxel hit and one missed in one block of two
    prediction[4, 4, 4] = 1
    prediction[8, 8, 8] = 1
    case = viewer_case(overlay_of(reference, prediction), "t", most_bytes=10**6)
    assert case.marks.step == (2, 1, 1)
    kinds = np.rint(unpacked(case.marks) / 85).astype(int)
    assert kinds[2, 4, 4] == 3
    assert kinds[4, 8, 8] == 2
    assert case.counts == (0, 1, 1)
    assert case.places == (None, (8, 8, 8), (4, 4, 4))


def test_odd_images_can_be_shown():
    mask = np.zeros((6, 7, 5))
    for image in (np.full(mask.shape, np.nan), np.zeros(mask.shape), np.full(mask.shape, -1e6)):
        case = viewer_case(overlay_of(mask, mask, image), "t", most_bytes=10**6)
        assert case.places == (None, None, None)
        assert case.counts == (0, 0, 0)


@pytest.mark.parametrize(("slices", "columns"), [(1, 1), (4, 2), (5, 3), (155, 13)])
def test_mosaics_are_nearly_square(slices, columns):
    assert columns_of(slices) == columns


def evaluation_of(**models: list[tuple[str, float]]) -> Evaluation:
    lesion = np.ones((2, 2, 2))
    runs = []
    for name, cases in models.items():
        overlays = [overlay_of(lesion, lesion, label=label, dice=dice, case=f"{label} {dice}") for label, dice in cases]
        cases_of = case_table(case_row("x", "1", 0.5))
        runs.append(RunMaterial(name, name.rstrip("0123456789"), "d", cases_of, overlays=tuple(overlays)))
    return Evaluation("t", "d", tuple(runs))


def test_worst_cases_of_every_model_over_its_runs():
    evaluation = evaluation_of(
        a0=[("best", 0.9), ("worst", 0.3), ("worst 2", 0.4)],
        a1=[("median", 0.1), ("worst", 0.2), ("worst 2", 0.35)],
        b0=[("worst", 0.05)],
    )
    chosen = [(run, overlay.dice) for run, overlay in worst(evaluation)]
    assert chosen == [("a1", 0.2), ("a0", 0.3), ("a1", 0.35), ("b0", 0.05)]


def test_six_at_most_and_no_model_forgotten():
    each = [("worst", 0.1), ("worst 2", 0.2), ("worst 3", 0.3)]
    assert [run for run, _ in worst(evaluation_of(a=each, b=each))] == ["a"] * 3 + ["b"] * 3
    assert [run for run, _ in worst(evaluation_of(a=each, b=each, c=each))] == ["a", "a", "b", "b", "c", "c"]
    four = worst(evaluation_of(a=each, b=each, c=each, d=each))
    assert [run for run, _ in four] == ["a", "b", "c", "d"]
    assert len(worst(evaluation_of(**{name: each for name in "abcdefgh"}))) == 6


def test_cases_without_a_lesion_are_no_worst_cases():
    evaluation = evaluation_of(a=[("worst", 0.0)])
    (run,) = evaluation.runs
    empty = dataclasses.replace(run.overlays[0], reference=np.zeros((2, 2, 2)))
    healthy = dataclasses.replace(evaluation, runs=(dataclasses.replace(run, overlays=(empty,)),))
    assert viewer_cases(healthy) == []


def test_what_the_script_reads(full_evaluation):
    cases = as_json(viewer_cases(full_evaluation))
    assert [case["title"].partition(",")[0] for case in cases] == ["unet-0: a2", "sgnet-0: a1", "sgnet-0: a2"]
    assert set(cases[0]) == {"title", "image", "marks", "crop", "first", "full", "spacing", "counts", "places"}
    assert cases[0]["image"]["src"].startswith("data:image/webp;base64,")
    assert cases[0]["marks"]["src"].startswith("data:image/png;base64,")
    assert cases[0]["spacing"] == (1.0, 1.0, 2.0)
    assert cases[0] == as_json(viewer_cases(full_evaluation))[0]
