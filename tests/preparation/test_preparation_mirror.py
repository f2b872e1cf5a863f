"""Mirrored channels as a part of the preparation: order, rules, record, store, other grids, what cannot be aligned."""

import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tilted_heads import distances, head, homologous, points_of, pose

from strokelab.contract import Case, LesionFile
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.preparation.mirror import Mirror
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.store import PreparedStore

SHAPE, MM = (54, 60, 48), 4.0
PLACE = pose(12, 8, 6)
RAW = Preparation(("FLAIR", "T1"), normalize="none", mirror=Mirror(enabled=True))
SAMPLE = Path(__file__).parents[3] / "shared/data/isles2022-sample"


def saved(folder: Path, affine: np.ndarray, **volumes: np.ndarray) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, voxels in volumes.items():
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), folder / f"{name}.nii")
    return {name: folder / f"{name}.nii" for name in volumes}


def a_case(folder: Path, affine: np.ndarray, **volumes: np.ndarray) -> Case:
    """A case of these images; ``lesion`` and ``brain`` are its masks."""
    paths = saved(folder, affine, **volumes)
    lesion, brain = paths.pop("lesion", None), paths.pop("brain", None)
    return Case(folder.name, folder.name, "folder", None, paths, (LesionFile(lesion),) if lesion else (), brain=brain)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    flair, _, _ = head(SHAPE, MM, PLACE, inverted=True)
    t1, brain, lesion = head(SHAPE, MM, PLACE)
    folder = tmp_path_factory.mktemp("mirror") / "a"
    return a_case(folder, np.diag([MM, MM, MM, 1]), FLAIR=flair, T1=t1, lesion=lesion, brain=brain)


@pytest.fixture(scope="module")
def prepared(case):
    return prepare(case, RAW)


def test_each_modality_then_its_mirror_and_nothing_else_changes(case, prepared):
    assert prepared.channels == RAW.channels == ("FLAIR", "T1", "mirrored_FLAIR", "mirrored_T1")
    assert prepared.mirrored.reference == "T1"
    plain = prepare(case, replace(RAW, mirror=Mirror()))
    assert plain.mirrored is None
    for name in ("lesion", "brain"):
        np.testing.assert_array_equal(getattr(prepared, name), getattr(plain, name))
    np.testing.assert_array_equal(prepared.image[:2], plain.image)


def test_what_was_stored_comes_back_with_its_record_and_the_same_bits(case, prepared, tmp_path):
    stores = [PreparedStore(tmp_path / name) for name in "ab"]
    entries = [store.prepare([case], RAW, progress=False)[0] for store in stores]
    (again,) = stores[0].prepare([case], RAW, progress=False)
    assert again.mirrored == entries[1].mirrored == prepared.mirrored == again.load().mirrored
    assert math.isclose(again.mirrored.seconds, entries[0].mirrored.seconds)
    assert again.mirrored.seconds > 0
    for path in entries[0].entry.iterdir():
        if path.name != "mirrored.json":  # it says seconds
            assert path.read_bytes() == (entries[1].entry / path.name).read_bytes(), path.name
    np.testing.assert_array_equal(again.load().image, prepared.image)


def test_switched_off_the_addresses_are_those_of_before(case, tmp_path):
    plain = Preparation(RAW.modalities, normalize="none")
    off = replace(plain, mirror=Mirror(reference="FLAIR", dof=6))
    store = PreparedStore(tmp_path)
    assert "mirror" not in json.dumps(off.to_json())
    assert Preparation(**off.to_json()) == plain
    assert store.key(case, off) == store.key(case, plain) != store.key(case, RAW)
    assert store.key(case, RAW) != store.key(case, replace(RAW, mirror=Mirror(enabled=True, dof=6)))
    assert replace(plain, mirror=None) == plain, "a section of yaml may be null"


def test_an_entry_without_record_is_still_one(case, tmp_path):
    (stored,) = PreparedStore(tmp_path).prepare([case], replace(RAW, mirror=Mirror()), progress=False)
    assert stored.mirrored is None
    assert stored.load().mirrored is None


def test_each_mirrored_channel_has_the_rule_of_its_modality_and_statistics_of_its_own(case, prepared):
    rules = {"FLAIR": "zscore_volume", "T1": "zscore_brain", "mirrored_FLAIR": "none"}
    image = prepare(case, replace(RAW, normalize=rules)).image
    np.testing.assert_array_equal(image[2], prepared.image[2])
    assert image[3][prepared.brain].mean() == pytest.approx(0, abs=1e-4)
    assert image[3][prepared.brain].std() == pytest.approx(1, abs=1e-4)
    with pytest.raises(ConfigError, match=r"preparation\.normalize"):
        replace(RAW, normalize={"FLAIR": "none"})


def test_an_oblique_anisotropic_scan_whose_axes_run_elsewhere(tmp_path):
    """The file's axes are P, S, L; the plane of symmetry lies in the world where it lies."""
    spacing, shape = np.array([3.5, 4.0, 5.0]), (62, 60, 38)
    image, brain, _ = head(shape, spacing, PLACE)
    turn = pose(yaw=9, roll=-7)[:3, :3]
    to_world = np.eye(4)
    to_world[:3, :3] = turn * spacing
    to_world[:3, 3] = turn @ (-(np.array(shape) - 1) / 2 * spacing) + [10, 20, 30]
    oriented = nib.Nifti1Image(image, to_world).as_reoriented(nib.io_orientation(np.eye(4)))
    turned = np.transpose(np.asarray(oriented.dataobj), (1, 2, 0))[::-1, :, ::-1]
    affine = to_world @ np.array([[0, 0, -1, shape[0] - 1], [-1, 0, 0, shape[1] - 1], [0, 1, 0, 0], [0, 0, 0, 1]])
    mask = np.transpose(brain, (1, 2, 0))[::-1, :, ::-1]
    case = a_case(tmp_path / "oblique", affine, T1=turned, brain=mask)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = turn, [10, 20, 30]
    expected = world @ homologous(PLACE) @ np.linalg.inv(world)
    points = points_of(shape, spacing)[brain.ravel()] @ turn.T + [10, 20, 30]
    for orientation in ("RAS", "file"):
        made = prepare(case, replace(RAW, modalities=("T1",), orientation=orientation)).mirrored
        apart = distances(np.array(made.transform), expected, points)
        assert (apart.mean() < 1, apart.max() < 2) == (True, True), orientation


@pytest.mark.parametrize("kind", ["noise", "nearly constant", "one slice"])
def test_what_cannot_be_aligned_is_flipped_and_said(kind, tmp_path):
    rng, shape = np.random.default_rng(0), (24, 28, 1) if kind == "one slice" else (24, 28, 20)
    values = np.full(shape, 100.0) if kind == "nearly constant" else rng.normal(100, 30, shape)
    values[3, 4, 0] += 1
    if kind == "noise":  # a symmetric brain in air that is not
        values = values + values[::-1]
    case = a_case(
        tmp_path / "b", np.diag([4, 4, 4, 1]), T1=values, T2=values + rng.normal(0, 1, shape), brain=values > 0
    )
    with pytest.warns(DataWarning, match="case b: .*flip") as said:
        made = prepare(case, Preparation(("T1", "T2"), normalize="none", mirror=Mirror(enabled=True)))
    assert made.mirrored.is_flip
    assert made.mirrored.correlation == made.mirrored.flip_correlation
    assert any(f"{made.mirrored.flip_correlation:.4f}" in str(one.message) for one in said)
    np.testing.assert_array_equal(made.image[2:], made.image[:2, ::-1])


def test_a_modality_on_a_grid_of_its_own_comes_along_or_is_refused(case, prepared, tmp_path):
    t1, flair = (np.asarray(nib.load(case.images[name]).dataobj) for name in ("T1", "FLAIR"))
    affine = np.diag([MM, MM, MM, 1.0])
    fine = np.diag([MM / 2, MM, MM, 1.0])
    fine[0, 3] = -MM / 4  # every voxel twice, at its own place
    own = saved(tmp_path / "own", fine, FLAIR=np.repeat(flair, 2, axis=0))
    beside = replace(case, images={"T1": case.images["T1"], **own}, label_modality="T1")
    made = prepare(beside, RAW)
    assert made.mirrored == prepared.mirrored
    assert np.corrcoef(made.image[2][made.brain], prepared.image[2][made.brain])[0, 1] > 0.9
    affine[:3, 3] = 5000
    away = replace(beside, images={"T1": case.images["T1"], **saved(tmp_path / "away", affine, FLAIR=t1)})
    with pytest.raises(DataError, match=r"FLAIR\.nii"):
        prepare(away, RAW)


def test_a_missing_modality_and_an_empty_brain_are_errors(case, tmp_path):
    with pytest.raises(DataError, match="case a"):
        prepare(replace(case, images={"FLAIR": case.images["FLAIR"]}), RAW)
    empty = saved(tmp_path, np.diag([MM, MM, MM, 1]), brain=np.zeros(SHAPE))["brain"]
    with pytest.raises(DataError, match=r"brain"):
        prepare(replace(case, brain=empty), RAW)


@pytest.mark.parametrize(
    ("modalities", "reference"),
    [
        (("FLAIR", "t1w", "DWI"), "t1w"),
        (("DWI", "CBF", "T1c", "T2"), "T1c"),
        (("DWI", "ADC", "FLAIR"), "FLAIR"),
        (("ADC", "DWI"), "DWI"),
        (("CBF", "CBV"), "CBF"),
    ],
)
def test_what_is_registered(modalities, reference):
    assert Mirror().reference_of(modalities) == reference
    assert Mirror(reference=modalities[0]).reference_of(modalities) == modalities[0]


@pytest.mark.parametrize("wrong", [{"dof": 9}, {"reference": "T2"}])
def test_wrong_settings(wrong):
    with pytest.raises(ConfigError, match=rf"mirror\.{next(iter(wrong))}"):
        replace(RAW, mirror=Mirror(enabled=True, **wrong))


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the ISLES 2022 sample case is not on disk")
def test_a_real_brain_is_more_like_its_aligned_mirror():
    name = "sub-strokecase0009"
    raw = SAMPLE / "rawdata" / name / "ses-0001"
    images = {one: raw / f"{name}_ses-0001_{one.lower()}.nii.gz" for one in ("DWI", "ADC", "FLAIR")}
    made = prepare(
        Case(name, name, "isles2022", None, images, (), "DWI"),
        replace(RAW, modalities=tuple(images), spacing=(4, 4, 4)),
    )
    assert made.mirrored.reference == "FLAIR"
    assert made.mirrored.correlation > made.mirrored.flip_correlation + 0.02
