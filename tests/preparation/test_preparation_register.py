"""Registration to MNI-152: a known pose is found, all maps go through one transform, the way back, failures by name."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from strokelab.contract import Case, LesionFile, MapFiles, MapLayout
from strokelab.errors import ConfigError
from strokelab.grid import Resample
from strokelab.nifti import write_volume
from strokelab.phantoms.anatomy import template
from strokelab.phantoms.native import pose, scan_grid, see
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.register import Register, RegistrationError
from strokelab.preparation.restore import restore, restore_mask
from strokelab.preparation.store import PreparedStore
from strokelab.preparation.template import MNI

HEAD = pose((9, -6, 8), (12.0, -30.0, 25.0))
OBLIQUE = Rotation.from_euler("xyz", (4, 3, -5), degrees=True).as_matrix() @ np.diag([-1.0, 1.0, 1.0])
GRIDS = {
    "T2w": scan_grid((64, 72, 36), (3.0, 3.0, 5.0), OBLIQUE, (12.0, -30.0, 25.0)),
    "FLAIR": scan_grid((50, 58, 48), (4.0, 4.0, 4.0), np.eye(3), (14.0, -28.0, 20.0)),
}
PREPARATION = Preparation(("T2w", "FLAIR"), (2, 2, 2), "zscore_volume", maps=("tissue",), register=Register())


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A head in its pose, dark where the template is bright, on an oblique and an upright grid; a ball as lesion."""
    folder, head = tmp_path_factory.mktemp("native"), template(4.0)
    inverted = np.where(head.brain, 1.3 * head.tissue.max() - head.tissue, 0).astype(np.float32)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in head.grid.shape], indexing="ij"), -1) * 4.0
    ball = (np.linalg.norm(places + head.grid.matrix[:3, 3] - (32, -20, 28), axis=-1) < 18).astype(np.float32)
    files = {}
    for name, grid in GRIDS.items():
        files[name] = folder / f"{name}.nii.gz"
        image = see(inverted, head.grid, grid, HEAD)
        write_volume(files[name], np.where(see(head.brain, head.grid, grid, HEAD) > 0.5, 100 * image, 0), grid)
    lesion = (see(ball, head.grid, GRIDS["T2w"], HEAD) > 0.5).astype(np.uint8)
    write_volume(folder / "lesion.nii.gz", lesion, GRIDS["T2w"])
    tissue = MapFiles(MapLayout("fraction", ("ball",)), (folder / "tissue.nii.gz",))
    write_volume(tissue.files[0], np.clip(see(ball, head.grid, GRIDS["FLAIR"], HEAD), 0, 1), GRIDS["FLAIR"])
    mask = (LesionFile(folder / "lesion.nii.gz"),)
    return Case("head", "head", "any", None, files, mask, "T2w", maps={"tissue": tissue})


@pytest.fixture(scope="module")
def prepared(case):
    return prepare(case, PREPARATION)


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_a_known_pose_is_found(prepared):
    """Mean error over the brain below 3 mm, of a phantom of 4 mm in a contrast that the template does not have."""
    head = template(4.0)
    points = np.c_[np.argwhere(head.brain)[::50], np.ones(len(np.argwhere(head.brain)[::50]))] @ head.grid.matrix.T
    registered = prepared.registered
    there = points @ np.linalg.inv(HEAD.matrix).T @ np.transpose(registered.transform)
    assert np.linalg.norm((there - points)[:, :3], axis=1).mean() < 3
    assert registered.metric < registered.start
    assert registered.overlap > 0.9
    assert registered.volume_factor == pytest.approx(1, abs=0.1)
    assert registered.seconds > 0
    assert prepared.grid.matches(MNI.resized((2.0, 2.0, 2.0)))


def test_every_map_goes_through_the_same_transform(prepared):
    image, lesion = np.asarray(prepared.image), np.asarray(prepared.lesion).astype(bool)
    assert np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1] > 0.85  # of two grids
    assert dice(lesion, np.asarray(prepared.maps["tissue"][0]) > 0.5) > 0.9
    centre = np.argwhere(lesion).mean(axis=0) @ prepared.grid.matrix[:3, :3].T + prepared.grid.matrix[:3, 3]
    assert np.linalg.norm(centre - (32, -20, 28)) < 4
    assert sum(isinstance(step, Resample) for step in prepared.steps) == 1


def test_the_way_back_ends_on_the_grid_of_the_file(case, prepared):
    native = restore_mask(np.asarray(prepared.lesion), prepared.steps).astype(bool)
    assert prepared.native.matches(GRIDS["T2w"])
    assert native.shape == GRIDS["T2w"].shape
    own = np.asarray(prepare(replace(case, maps={}), Preparation(("T2w",))).lesion)
    plain = restore_mask(own, prepare(replace(case, maps={}), Preparation(("T2w",))).steps).astype(bool)
    assert dice(native, plain) > 0.95
    assert restore(np.asarray(prepared.image), prepared.steps).shape == (2, *GRIDS["T2w"].shape)


def test_the_store_keeps_the_transform_and_equal_inputs_give_equal_bits(case, prepared, tmp_path, monkeypatch):
    store = PreparedStore(tmp_path / "store")
    (stored,) = store.prepare([case], PREPARATION, progress=False)
    assert stored.registered == prepared.registered  # but for the seconds
    assert np.array_equal(stored.load().image, prepared.image)
    monkeypatch.setattr(Register, "found", lambda *given: pytest.fail("registered again"))
    (again,) = store.prepare([case], PREPARATION, progress=False)
    assert again.registered.seconds == stored.registered.seconds
    assert again.load().registered == stored.registered


def test_a_registration_that_does_not_fit_is_refused_with_its_numbers(case, prepared, monkeypatch):
    found, strict = prepared.registered, replace(PREPARATION, register=Register(least_overlap=0.999))

    def given(transform, metric):
        result = (np.array(transform), metric, found.start)
        monkeypatch.setattr("strokelab.preparation.register._registered", lambda *arguments: result)

    given(found.transform, found.metric)
    with pytest.raises(RegistrationError, match=rf"case head.*brain overlap {found.overlap:.3f}"):
        prepare(case, strict)
    given(found.transform, found.start)
    with pytest.raises(RegistrationError, match=rf"metric {found.start:.4f} at the start and {found.start:.4f}"):
        prepare(case, PREPARATION)
    shrunk = np.array(found.transform)
    shrunk[:3, :3] *= 0.5
    given(shrunk, found.metric)
    with pytest.raises(RegistrationError, match=r"by a factor of 0\.1"):
        prepare(case, replace(PREPARATION, register=Register(least_overlap=0)))


def test_settings_without_a_registration_are_those_of_before():
    assert "register" not in Preparation(("T1w",)).to_json()
    assert replace(PREPARATION, register=None).to_json() != PREPARATION.to_json()
    assert PREPARATION.to_json()["register"] == {"to": "mni152", "dof": 12, "least_overlap": 0.7}
    with pytest.raises(ConfigError, match="register"):
        Preparation(("T1w",), register=Register(), orientation="file")
    by_name = Preparation(("T1w",), register="mni152")
    assert by_name.register == Register(refined=True)
    assert by_name.to_json()["register"]["refined"]
    for wrong in ({"to": "colin"}, {"dof": 9}, {"least_overlap": 1.5}):
        with pytest.raises(ConfigError, match="register"):
            Register(**wrong)
