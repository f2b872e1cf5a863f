"""A cohort whose preparation registers: a case that cannot be registered is left out of a training, and named."""

from dataclasses import replace

import numpy as np
import pytest
from data_small_cohort import small_view, write_cohort

from strokelab.contract import Registered
from strokelab.data import read_cases
from strokelab.data.datamodule import CohortDataModule
from strokelab.data.splits import KFold
from strokelab.errors import DataError, DataWarning
from strokelab.preparation.register import Register


def test_a_training_leaves_out_what_cannot_be_registered(tmp_path, monkeypatch):
    identity = tuple(tuple(float(value) for value in row) for row in np.eye(4))
    failing = "033000"

    def found(self, image, brain, grid, case_id, path, name=""):
        if failing in case_id:
            raise self._failed(case_id, path, "a brain elsewhere")
        return Registered("mni152", identity, -0.5, -0.2, 0.5, 0.9, 1.0, 1.0)

    monkeypatch.setattr(Register, "found", found)
    root = write_cohort(tmp_path / "raw")
    view = small_view(crop=None)
    view = replace(view, preparation=replace(view.preparation, register=Register(), spacing=(4, 4, 4)))
    names = {case.case_id for case in read_cases("atlas_v1", root)}
    left = {name for name in names if failing in name}
    data = CohortDataModule("atlas_v1", root, ("T1w",), view, KFold(folds=3, fold=0), store=tmp_path / "store")
    with pytest.warns(DataWarning, match=failing):
        data.setup()
    parts = [case.case_id for part in ("train", "val", "test") for case in data.volumes(part)]
    assert len(left) == 1
    assert set(parts) == names - left
    assert len(parts) == len(names) - 1
    with pytest.raises(DataError, match=failing):
        data.store.prepare(data.cases, view.preparation, progress=False)
