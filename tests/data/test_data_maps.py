"""Further maps of a case: prepared by their kind, cut and moved with the image, and what targets are made of them."""

from dataclasses import fields, replace

import nibabel as nib
import numpy as np
import pytest
import torch
from data_small_cohort import SHAPE, small_view, write_cohort

from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.augment.recipes import Recipe
from strokelab.augment.spatial import Flip
from strokelab.contract import MapFiles, MapLayout
from strokelab.data import read_cases
from strokelab.data.sources import samples_of
from strokelab.data.targets import Targets, check_classes
from strokelab.errors import ConfigError, DataError
from strokelab.inference.windows import PatchWindows
from strokelab.losses.compound import DiceCELoss
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore
from strokelab.sampling.foreground import ForegroundPatches
from strokelab.seeding import stream
from strokelab.view import View

TISSUE = MapLayout("fraction", ("GM", "WM"))
PARTS = MapLayout("label", ("left", "right"), (3, 7))
CLASSES = ("background", "GM", "WM", "lesion")
PATCH = (12, 8, 6)
MOVES = NNUNetAugmentation(
    **{field.name: 0.0 for field in fields(NNUNetAugmentation) if field.name.endswith("_p")}
    | {"rotation_p": 1.0, "zoom_p": 1.0, "elastic_p": 1.0, "mirror_p": 0.5}
)
STRONG = NNUNetAugmentation(rotation_p=1, zoom_p=1, elastic_p=1, mirror_p=1)


def written(folder, name, values, affine):
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Cases of which the first four have tissue fractions and two parts; grey values are 100 GM + 200 WM."""
    folder = tmp_path_factory.mktemp("maps")
    cases = read_cases("atlas_v1", write_cohort(folder / "raw"))
    found = []
    for number, case in enumerate(cases):
        affine = nib.load(case.reference_image).affine
        gm = np.random.default_rng(number).random(SHAPE, dtype=np.float32)
        gm[:, :, :2] = 0
        wm = ((1 - gm) * (np.indices(SHAPE)[1] > 5)).astype(np.float32)
        wm[:, :, :2] = 0
        parts = np.where(np.indices(SHAPE)[0] < 10, 3, 7).astype(np.uint8)
        files = [
            written(folder, f"{case.case_id}_{n}", v, affine) for n, v in (("gm", gm), ("wm", wm), ("parts", parts))
        ]
        maps = {"tissue": MapFiles(TISSUE, tuple(files[:2])), "parts": MapFiles(PARTS, (files[2],))}
        found.append(replace(case, maps=maps if number < 4 else {}))
    return folder, found


def stored(cohort, **settings):
    folder, cases = cohort
    preparation = Preparation(("T1w",), **{"maps": ("tissue", "parts"), **settings})
    return PreparedStore(folder / "store").prepare(cases, preparation, progress=False)


def patches(augment=None, classes=CLASSES):
    sampler = ForegroundPatches(PATCH, iterations_per_epoch=6)
    preparation = Preparation(("T1w",), maps=("tissue", "parts"))
    return View(preparation, sampler, PatchWindows(PATCH), augment, classes=classes)


def batch_of(cases, view, keys=12, **settings):
    samples = samples_of(cases, "train", view=view, batch_size=2, sites={}, seed=1, **settings)
    return samples, samples.__getitems__([(0, index) for index in range(keys)])


def test_maps_come_back_from_the_store_as_their_files_say(cohort):
    for case, one in zip(cohort[1], stored(cohort), strict=True):
        prepared = one.load()
        assert set(prepared.maps) == set(case.maps) == set(one.maps)
        for name, array in prepared.maps.items():
            files = case.maps[name].files
            wanted = np.stack([nib.as_closest_canonical(nib.load(path)).get_fdata() for path in files])
            np.testing.assert_allclose(array, wanted, atol=1e-6)
            assert (array.dtype, array.flags.writeable) == (case.maps[name].layout.dtype, False)


def test_on_a_coarser_grid_fractions_are_between_and_labels_are_labels(cohort):
    prepared = stored(cohort, spacing=(3.0, 3.0, 3.0))[0].load()
    tissue, parts = prepared.maps["tissue"], prepared.maps["parts"]
    assert tissue.shape[1:] == parts.shape[1:] == prepared.grid.shape
    assert set(np.unique(parts)) <= {0, 3, 7}
    assert 0.3 < tissue.sum(0).max() <= 1 + 1e-5
    assert ((tissue[0] > 0.3) & (tissue[0] < 0.7)).mean() > 0.2


def test_the_target_is_what_the_maps_say_and_sums_to_one(cohort):
    _, batch = batch_of(stored(cohort), patches())
    target, lesion = batch["target"], batch["lesion"].float()
    torch.testing.assert_close(target.sum(1), torch.ones_like(target[:, 0]))
    full = [case.case_id for case in cohort[1][:4]]
    for place, case_id in enumerate(batch["case_id"]):
        known = [True] * 4 if case_id in full else [True, False, False, True]
        assert batch["labelled_classes"][place].tolist() == known
        assert torch.equal(target[place, 3:], lesion[place])
        if case_id in full:
            torch.testing.assert_close(target[place, 1:3], batch["tissue"][place] * (1 - lesion[place]))
        else:
            assert torch.equal(target[place, 0], 1 - lesion[place, 0])
    assert {case_id in full for case_id in batch["case_id"]} == {True, False}
    assert lesion.sum() > 0


def test_classes_of_a_labelling_are_its_values(cohort):
    _, batch = batch_of(stored(cohort)[:4], patches(classes=("background", "right", "lesion")))
    assert torch.equal(batch["target"][:, 1:2], (batch["parts"] == 7) * (1 - batch["lesion"].float()))
    assert batch["kinds"] == {"tissue": "fraction", "parts": "label"}
    assert "labelled_classes" not in batch  # every case is labelled with every class


@pytest.mark.parametrize("augment", [MOVES, Recipe([Flip(("x", "y", "z"), p=0.5)])])
def test_maps_move_with_the_image(cohort, augment):
    """Grey values that are a fraction move as it does, and so do a half of the labels and the mask of this half."""
    some = stored(cohort)[:4]
    _, batch = batch_of(some, patches(classes=None))
    plans = [augment.draw(stream(5, index), 1, PATCH) for index in range(12)]
    if augment is MOVES:  # reads beyond the patch
        _, batch = batch_of(some, patches(augment, classes=None), deferred=True)
        plans = batch.pop("later").plans
    for maps in (batch, *batch.get("sources", {}).values()):
        channels = 1 if maps is batch else 0
        maps["image"] = maps["tissue"].narrow(channels, 0, 1).clone()
        maps["lesion"] = (maps["parts"] == 7).to(torch.uint8)
    before = batch["tissue"].clone()
    moved = augment.apply(batch, plans)
    assert not torch.equal(moved["tissue"], before)
    assert torch.equal(moved["image"], moved["tissue"][:, :1])
    assert ((moved["parts"] == 7) == moved["lesion"].bool()).float().mean() > 0.97
    assert set(moved["parts"].unique().tolist()) <= {0, 3, 7}


def test_deferred_augmentation_makes_the_same_target(cohort):
    from strokelab.data.samples import completed

    some = stored(cohort)
    _, now = batch_of(some, patches(STRONG))
    _, later = batch_of(some, patches(STRONG), deferred=True)
    assert "target" not in later
    done = completed(later)
    for name in ("image", "tissue", "parts", "lesion", "target", "labelled_classes"):
        assert torch.equal(done[name], now[name]), name


def test_slices_have_maps_as_well(cohort):
    view = replace(small_view(crop=None), classes=CLASSES)
    _, batch = batch_of(stored(cohort), view)
    assert tuple(batch["target"].shape) == (12, 4, SHAPE[1], SHAPE[0])
    case = stored(cohort)[0].load()
    z = int(batch["origin"][0, 2])
    np.testing.assert_array_equal(batch["tissue"][0, 1], case.maps["tissue"][1, :, :, z].T)


def test_a_scan_with_a_lesion_alone_teaches_nothing_about_tissues(cohort):
    """The gradient of the logits of classes that are not labelled is 0, and that of the others is not."""
    _, batch = batch_of(stored(cohort), patches())
    logits = torch.randn(batch["target"].shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    DiceCELoss()(logits, batch["target"], batch["labelled_classes"]).backward()
    partial = ~batch["labelled_classes"].all(1)
    assert not logits.grad[partial][:, 1:3].any()
    assert logits.grad[partial][:, [0, 3]].any()
    assert logits.grad[~partial].flatten(2).any(2).all()


def test_overlapping_fractions_are_shared_out():
    layout = MapLayout("fraction", ("a", "b"))
    batch = {
        "lesion": torch.zeros(1, 1, 1, 1, 1, dtype=torch.uint8),
        "t": torch.tensor([0.75, 0.5]).view(1, 2, 1, 1, 1),
    }
    target = Targets(("a", "background", "b"), {"t": layout}).added(batch)["target"]
    torch.testing.assert_close(target.flatten(), torch.tensor([0.6, 0.0, 0.4]))


def test_background_and_lesion_follow_from_the_mask_also_where_a_map_has_them():
    """A table of tissues often has a column of background: counted twice, the target would be 0 there."""
    layout = MapLayout("fraction", ("background", "GM", "lesion"))
    maps = torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1, 1)
    targets = Targets(("background", "GM", "lesion"), {"t": layout})
    for lesion, wanted in ((0, [0.75, 0.25, 0.0]), (1, [0.0, 0.0, 1.0])):
        batch = {"lesion": torch.full((1, 1, 1, 1, 1), lesion, dtype=torch.uint8), "t": maps}
        torch.testing.assert_close(targets.added(batch)["target"].flatten(), torch.tensor(wanted))


def test_a_map_is_no_lesion_mask(cohort):
    """Without classes a case that has maps alone would train as if it had no lesion."""
    bare = [replace(case, lesions=()) for case in cohort[1][:2]]
    some = PreparedStore(cohort[0] / "store").prepare(bare, patches().preparation, progress=False)
    _, batch = batch_of(some, patches())
    assert batch["labelled_classes"].tolist() == [[True, True, True, False]] * 12
    with pytest.raises(DataError, match="without a lesion mask"):
        batch_of(some, patches(classes=None))


def test_a_map_of_another_space_is_named(cohort, tmp_path):
    affine = nib.load(cohort[1][0].reference_image).affine.copy()
    affine[:3, 3] += 900
    far = written(tmp_path, "far", np.ones(SHAPE, np.float32), affine)
    case = replace(cohort[1][0], maps={"tissue": MapFiles(MapLayout("fraction", ("GM",)), (far,))})
    with pytest.raises(DataError, match="nothing of the case"):
        PreparedStore(tmp_path / "store").prepare([case], Preparation(("T1w",), maps=("tissue",)), progress=False)


def test_what_cannot_be(cohort):
    with pytest.raises(ConfigError, match=r"view\.classes"):
        check_classes(("background", "GM"), {"tissue": TISSUE, "other": MapLayout("fraction", ("GM",))})
    with pytest.raises(ConfigError, match=r"preparation\.maps[\s\S]*other names"):
        Preparation(("T1w",), maps=("lesion",))
    with pytest.raises(ConfigError, match=r"view\.classes[\s\S]*CSF"):
        check_classes(("background", "CSF"), {"tissue": TISSUE})
    with pytest.raises(ConfigError, match="each once"):
        check_classes(("GM", "GM"), {"tissue": TISSUE})
    one, other = stored(cohort)[:2]
    with pytest.raises(ConfigError, match="fraction of CSF"):
        batch_of([one, replace(other, maps={"tissue": MapLayout("fraction", ("CSF",))})], patches())
    for wrong in ({"kind": "intensity"}, {"channels": ()}, {"values": (1,)}):
        with pytest.raises(ValueError, match="expected"):
            replace(TISSUE, **wrong)


@pytest.mark.parametrize(
    ("layout", "values", "words"),
    [(TISSUE, (2.0, 0), "from 2 to 2"), (TISSUE, (0.8, 0.8), "sum to 1.6"), (PARTS, (0.5,), "whole numbers")],
)
def test_files_that_hold_something_else_are_named(cohort, tmp_path, layout, values, words):
    case = cohort[1][0]
    affine = nib.load(case.reference_image).affine
    files = [written(tmp_path, f"m{n}", np.full(SHAPE, v, np.float32), affine) for n, v in enumerate(values)]
    wrong = replace(case, maps={"tissue": MapFiles(layout, tuple(files))})
    with pytest.raises(DataError, match=words) as error:
        PreparedStore(tmp_path / "store").prepare([wrong], Preparation(("T1w",), maps=("tissue",)), progress=False)
    assert str(files[0]) in str(error.value)


def test_a_table_names_maps(cohort, tmp_path):
    cases = cohort[1]
    lines = ["case,T1w,label,tissue:GM,tissue:WM"]
    for case in cases[:5]:
        maps = [str(file) for file in case.maps["tissue"].files] if case.maps else ["", ""]
        lines.append(",".join([case.case_id, str(case.reference_image), str(case.lesions[0].path), *maps]))
    table = tmp_path / "cohort.csv"
    table.write_text("\n".join(lines))
    read = read_cases("folder", table)
    assert [set(case.images) for case in read] == [{"T1w"}] * 5
    assert [case.maps.get("tissue") for case in read] == [
        MapFiles(TISSUE, case.maps["tissue"].files) if case.maps else None for case in cases[:5]
    ]
    table.write_text("\n".join([*lines[:2], lines[2].rpartition(",")[0] + ","]))
    with pytest.raises(DataError, match="0 files in tissue:WM"):
        read_cases("folder", table)
