"""Channels belong to the preparation: each has its own normalisation, and some are made of others."""

from dataclasses import dataclass, replace
from itertools import product

import nibabel as nib
import numpy as np
import pytest

from strokelab.contract import Case
from strokelab.errors import ConfigError, DataError
from strokelab.preparation.further import PathInputs
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.store import PreparedStore

SHAPE = (12, 14, 8)


@dataclass(frozen=True)
class Mirrored:
    """The modalities again, flipped about the grid's middle."""

    of: tuple = ("T1w",)

    def names(self, modalities):
        return [f"{name} mirrored" for name in modalities if name in self.of]

    def __call__(self, image, brain, grid):
        assert image.shape[1:] == grid.shape == brain.shape
        return image[: len(self.of), ::-1]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("channels"), np.random.default_rng(0)
    brain = np.zeros(SHAPE, np.uint8)
    brain[2:10, 2:12, 1:7] = 1
    paths = {}
    for name, values in (
        ("T1w", rng.normal(100, 20, SHAPE) * brain),
        ("parts", np.where(np.indices(SHAPE)[0] < 6, 1, 2) * brain),
        ("brain", brain),
    ):
        paths[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([2.0, 2, 2, 1])), paths[name])
    images = {name: paths[name] for name in ("T1w", "parts")}
    return Case("a", "a", "folder", None, images, brain=paths["brain"])


EACH = {"T1w": "zscore_brain", "parts": "none"}


def test_a_map_of_labels_is_never_z_scored(case):
    prepared = prepare(case, Preparation(("T1w", "parts"), normalize=EACH))
    inside = prepared.brain
    assert prepared.image[0][inside].mean() == pytest.approx(0, abs=1e-5)
    assert set(np.unique(prepared.image[1])) == {0, 1, 2}
    alone = prepare(case, Preparation(("T1w",), normalize="zscore_brain"))
    np.testing.assert_array_equal(prepared.image[0], alone.image[0])


def test_channels_that_are_made_are_normalised_by_themselves(case, tmp_path):
    rules = {**EACH, "T1w mirrored": "zscore_volume"}
    preparation = Preparation(("T1w", "parts"), normalize=rules, further=Mirrored())
    assert preparation.channels == ("T1w", "parts", "T1w mirrored")
    (stored,) = PreparedStore(tmp_path).prepare([case], preparation, progress=False)
    prepared = stored.load()
    assert (stored.channels, prepared.image.shape) == (preparation.channels, (3, *SHAPE))
    raw = prepare(case, Preparation(("T1w",), normalize="none")).image[0][::-1]
    np.testing.assert_allclose(prepared.image[2], (raw - raw.mean()) / raw.std(), atol=1e-4)


def test_every_setting_that_changes_arrays_has_an_address_of_its_own(case, tmp_path):
    store, plain = PreparedStore(tmp_path), Preparation(("T1w", "parts"), normalize="none")
    others = [
        replace(plain, normalize={"T1w": "none", "parts": "zscore_brain"}),
        replace(plain, further=Mirrored()),
        replace(plain, further=Mirrored(("parts",))),
    ]
    assert len({store.key(case, one) for one in (plain, *others)}) == 4
    assert store.key(case, replace(plain, maps=("tissue",))) != store.key(case, plain)  # it may get one


@pytest.mark.parametrize(
    "rules", [{"T1w": "none"}, {**EACH, "T2w": "none"}, {**EACH, "parts": "zscore"}, "zscore", None]
)
def test_a_rule_for_each_channel_and_for_no_other(rules):
    with pytest.raises(ConfigError, match=r"preparation\.normalize"):
        Preparation(("T1w", "parts"), normalize=rules)


def test_what_the_nine_paths_of_the_multi_path_network_are_given(case):
    """Each channel is what a path prepares for itself, turned back; the second one of a path is its mirror image."""
    normalize = {"T1w": "zscore_slice_brain", "parts": "none"}
    prepared = prepare(case, Preparation(("T1w", "parts"), normalize=normalize, further=PathInputs()))
    assert len(prepared.channels) == 2 + 17
    channels = dict(zip(prepared.channels, prepared.image, strict=True))
    channels["axial_slice"] = channels["T1w"]
    back = {"axial": ("RAS", (0, 1, 2)), "coronal": ("RSA", (0, 2, 1)), "sagittal": ("ASR", (2, 0, 1))}
    rules = {"slice": "zscore_slice_brain", "pixel": "zscore_pixel", "pixel_slice": "zscore_pixel_slice"}
    for (plane, (axes, order)), (rule, how) in product(back.items(), rules.items()):
        path = prepare(case, Preparation(("T1w",), normalize=how, orientation=axes)).image[0].transpose(order)
        np.testing.assert_allclose(channels[f"{plane}_{rule}"], path, atol=1e-5)
        second = path if plane == "sagittal" else path[::-1]
        np.testing.assert_allclose(channels[f"{plane}_{rule}_second"], second, atol=1e-5)


def test_a_mask_that_another_model_left_empty_is_a_channel(case, tmp_path):
    """An image of one grey value is an error; under the rule none, which asks for no contrast, it is not."""
    path = tmp_path / "empty.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.diag([2.0, 2, 2, 1])), path)
    found = replace(case, images={**case.images, "parts": path})
    assert not prepare(found, Preparation(("T1w", "parts"), normalize=EACH)).image[1].any()
    with pytest.raises(DataError, match="constant image"):
        prepare(found, Preparation(("T1w", "parts"), normalize="zscore_brain"))
