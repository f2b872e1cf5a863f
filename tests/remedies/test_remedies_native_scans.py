"""Remedies about scans that are registered, or not, followed on a small one."""

import numpy as np
import pytest
from doing import executes, said, settings, told

from strokelab.configuration.overriding import override
from strokelab.contract import Case
from strokelab.grid import Grid
from strokelab.nifti import write_volume
from strokelab.preparation.adaptation import preparation_for
from strokelab.preparation.intake import Intake
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.store import PreparedStore
from strokelab.preparation.trained_on import TrainedOn

OWN = Preparation(("T1w",), (4, 4, 4), "zscore_volume")


@pytest.fixture
def case(tmp_path):
    """A cube of noise in air: no brain that could be registered."""
    voxels = np.zeros((20, 20, 20), np.float32)
    voxels[5:15, 5:15, 5:15] = np.random.default_rng(0).uniform(50, 60, (10, 10, 10))
    image = write_volume(tmp_path / "a_T1w.nii.gz", voxels, Grid.of(voxels.shape, np.diag([4.0, 4, 4, 1])))
    return Case("a", "a", "x", None, {"T1w": image})


@executes("strokelab/preparation/adaptation.py:preparation_for", "strokelab/preparation/register.py:_failed")
@executes("strokelab/preparation/intake.py:__post_init__")
def test_a_scan_that_must_or_cannot_be_registered_is_taken_as_it_lies(case, tmp_path):
    native = TrainedOn.of(PreparedStore(tmp_path / "store").prepare([case], OWN, progress=False), OWN)
    refused = said(preparation_for, case, OWN, native, register="always")
    as_it_is, in_training = told(refused.remedy)
    taken = Intake(**dict([as_it_is.split("=")]))
    assert preparation_for(case, OWN, native, register=taken.register) is OWN
    trained = override(settings("model=unet2d", "data=atlas_v1"), [in_training])
    assert trained["view"]["preparation"]["register"] == "mni152"
    registering = Preparation(("T1w",), (4, 4, 4), "zscore_volume", register="mni152")
    failed = said(prepare, case, registering)
    (never,) = told(failed.remedy)
    register = dict([never.split("=")])["register"]
    assert prepare(case, preparation_for(case, registering, native, register=register)).registered is None
    (word,) = told(said(Intake, register="perhaps").remedy)
    assert Intake(**dict([word.split("=")])) == Intake()
