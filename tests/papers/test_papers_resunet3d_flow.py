"""Tomita 2020, data and evaluation (docs/methods/resunet3d.md): crops, the centre window, the rest, the split."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from strokelab.configuration import build, compose, plain
from strokelab.contract import Case, LesionFile, PreparedCase
from strokelab.data.samples import Samples
from strokelab.data.splits import HoldOut
from strokelab.grid import Grid, Resample
from strokelab.inference.centre_window import CentreWindow
from strokelab.inference.postprocess import threshold
from strokelab.inference.predict import case_scores, covered_by, to_native
from strokelab.metrics import score_case
from strokelab.preparation.recipe import Preparation, plan_steps
from strokelab.preparation.template import MNI
from strokelab.sampling.boxes import Drawing
from strokelab.sampling.crops import Crops
from strokelab.scoring.cases import outside_share

ZOOM_IN, ZOOM_OUT = (128, 128, 128), (144, 172, 168)
LAST = {ZOOM_IN: (69, 105, 61), ZOOM_OUT: (53, 61, 21)}  # section 3, inclusive


class StoredCase:
    """As the store hands one out, in memory."""

    def __init__(self, lesion, case_id="a", image=None):
        self.case_id, self.site, self.grid = case_id, None, Grid.of(lesion.shape, np.eye(4))
        self.lesion_voxels, self.channels, self.lesion = int(lesion.sum()), ("T1w",), lesion
        self.layouts, self.maps, self.labelled = {}, {}, True
        self.image = np.zeros((1, *lesion.shape), np.float32) if image is None else image

    def load(self):
        named = {"case_id": self.case_id, "subject_id": "s", "site": None, "channels": self.channels, "steps": ()}
        brain = np.ones(self.lesion.shape, bool)
        return PreparedCase(
            **named, image=self.image, lesion=self.lesion, brain=brain, grid=self.grid, native=self.grid
        )


@pytest.mark.parametrize("size", [ZOOM_IN, ZOOM_OUT])
def test_random_starts_cover_exactly_the_ranges_of_the_paper(size):
    sampler = build(view()["sampler"] | {"size": list(size)})
    starts = np.array([sampler.start(MNI.shape, np.random.default_rng(seed)) for seed in range(3000)])
    for along, last in zip(starts.T, LAST[size], strict=True):
        counts = np.bincount(along)
        assert len(counts) == last + 1  # none outside
        assert counts.min() > 0  # all reachable
        expected = len(starts) / (last + 1)
        assert ((counts - expected) ** 2 / expected).sum() < last + 6 * (2 * last) ** 0.5  # chi-square, uniform
    assert 100 * np.prod(size) / np.prod(MNI.shape) == pytest.approx(24.17 if size == ZOOM_IN else 47.96, abs=0.01)


def test_a_crop_as_large_as_the_grid_is_the_grid():
    lesion = np.zeros((6, 8, 10), np.uint8)
    lesion[5, 7, 9] = 1
    for part in ("train", "val"):
        places = Crops(lesion.shape).places([StoredCase(lesion)], Drawing(part, 0, 1))
        assert places.at([(3, 0)])[1].tolist() == [[0, 0, 0]]


def test_image_and_label_stay_together_also_where_they_are_padded_or_flipped():
    rng = np.random.default_rng(0)
    lesion = np.asfortranarray((rng.random((14, 9, 12)) < 0.3).astype(np.uint8))
    case = StoredCase(lesion, image=np.asfortranarray(lesion[None] * np.float32(0.5) + np.float32(0.25)))
    seen = set()
    for part, flips in (("train", False), ("train", True), ("val", False)):
        places = Crops((8, 12, 12), flips=flips).places([case], Drawing(part, 1, 1))
        samples = Samples([case], places, sites={}, seed=1)
        for epoch in range(12):
            batch = samples.__getitems__([(epoch, 0)])
            image, label = batch["image"][0, 0], batch["lesion"][0, 0]
            inside = batch["brain"][0, 0] != 0
            assert inside.sum() == 8 * 9 * 12
            assert not image[~inside].any()
            assert not label[~inside].any()
            assert torch.equal(image[inside], label[inside] * 0.5 + 0.25)
            x = int(batch["origin"][0, 0])
            cut = torch.from_numpy(np.pad(lesion, ((0, 0), (1, 2), (0, 0)))[x : x + 8].copy())
            assert batch["origin"][0, 1:].tolist() == [-1, 0]
            assert flips or torch.equal(label, cut)
            seen.add((flips, torch.equal(label, cut)))
    assert {(True, False), (True, True)} <= seen


def test_validation_crops_are_centred_on_the_lesion_and_reach_the_last_start():
    sampler = Crops(ZOOM_IN)
    for corner, start in (((0, 0, 0), (0, 0, 0)), ((196, 232, 188), LAST[ZOOM_IN]), ((100, 100, 100), (36, 36, 36))):
        lesion = np.zeros(MNI.shape, np.uint8)
        lesion[corner] = 1
        assert tuple(sampler.centre(MNI.shape, lesion)) == start
    assert tuple(sampler.centre(MNI.shape)) == (34, 52, 30)
    assert tuple(Crops(ZOOM_OUT).centre(MNI.shape)) == (26, 30, 10)


def prepared_on(native, preparation, lesion):
    steps = plan_steps(native, preparation)
    target = steps[-1].target
    image = np.ones((1, *target.shape), np.float32)
    named = {"case_id": "c", "subject_id": "c", "site": None, "channels": ("T1w",), "native": native, "steps": steps}
    return PreparedCase(**named, image=image, lesion=lesion, brain=np.ones(target.shape, bool), grid=target)


def view():
    return plain(compose("train", ["model=nnunet", "view=resunet3d", "run_dir=x"]))["view"]


def preparation_of_the_view():
    return Preparation(("T1w",), tuple(view()["preparation"]["spacing"]), "none")


def test_the_pasted_prediction_is_0_outside_the_window():
    plan = build(view()["windows"])
    assert plan == CentreWindow(ZOOM_OUT)
    prepared = prepared_on(MNI, preparation_of_the_view(), None)
    assert not any(isinstance(step, Resample) for step in prepared.steps)  # MNI cases stay as they are
    scores = case_scores(prepared, predict=lambda image, brain: torch.full_like(image, 0.7), windows=plan)
    made = to_native(prepared, scores, postprocess=threshold, covered=covered_by([(prepared, plan)]))
    box = np.zeros(MNI.shape, bool)
    box[26 : 26 + 144, 30 : 30 + 172, 10 : 10 + 168] = True
    assert not made.probability[~box].any()
    np.testing.assert_array_equal(made.mask, box)
    np.testing.assert_array_equal(made.covered, box)
    ends = [MNI.matrix[:3, :3] @ corner + MNI.matrix[:3, 3] for corner in ((26, 30, 10), (169, 201, 177))]
    assert np.array(ends).tolist() == [[-72, -104, -62], [71, 67, 105]]  # section 7, mm


def test_a_lesion_wholly_outside_has_recall_0_and_a_share_of_1():
    plan = CentreWindow(ZOOM_OUT)
    prepared = prepared_on(MNI, preparation_of_the_view(), None)
    covered = covered_by([(prepared, plan)])
    lesion = np.zeros(MNI.shape, np.uint8)
    lesion[90:100, 100:110, 0:10] = 1  # the lowest cerebellum
    scores = score_case(covered.astype(np.uint8), lesion, 1.0, "tomita")
    assert (scores["recall"], outside_share(lesion, covered)) == (0, 1)
    lesion[90:100, 100:110, 0:20] = 1
    assert outside_share(lesion, covered) == 0.5
    assert np.isnan(outside_share(np.zeros_like(lesion), covered))


def test_other_grids_come_to_1_mm_with_the_window_around_the_brain():
    native = Grid.of((128, 128, 30), np.diag([1.8, 1.8, 6.0, 1.0]))
    prepared = prepared_on(native, preparation_of_the_view(), None)
    assert prepared.grid.spacing == pytest.approx((1, 1, 1), abs=0.01)
    brain = np.zeros(prepared.grid.shape, bool)
    brain[10:150, 40:220, 5:175] = True
    assert CentreWindow(ZOOM_OUT).start(brain) == (8, 44, 6)


def scans(count, twice):
    masks = (LesionFile(Path("l")),)
    return [
        Case(f"{subject}_{visit}", f"{subject}", "atlas", None, {"T1w": Path("i")}, masks)
        for subject in range(count - twice)
        for visit in range(2 if subject < twice else 1)
    ]


@pytest.mark.parametrize(
    ("count", "twice", "parts"), [(239, 0, (182, 26, 31)), (239, 9, (182, 26, 31)), (229, 9, (174, 25, 30))]
)
def test_the_split_of_the_paper(count, twice, parts):
    cases = scans(count, twice)
    node = plain(compose("train", ["split=holdout", "split.stratify=volume", "run_dir=x"]))["split"]
    split = build(node | {"test_fraction": 0.13, "val_fraction": 0.11})
    assert isinstance(split, HoldOut)
    ml = {case.case_id: 0.01 * (1 + number * 101 % count) for number, case in enumerate(cases)}
    found = split(cases, lambda: ml)
    assert (len(found.train), len(found.val), len(found.test)) == parts
    ranked = sorted(ml, key=lambda name: ml[name])
    quarter = {name: 4 * rank // count for rank, name in enumerate(ranked)}
    if not twice:
        for quarters in (Counter(quarter[name] for name in part) for part in (found.val, found.test)):
            assert max(quarters.values()) - min(quarters.values()) <= 2
