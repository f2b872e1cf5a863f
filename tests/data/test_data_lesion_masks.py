"""Lesion masks of a cohort or a folder, and the command that pastes them."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from strokelab import cli
from strokelab.data import read_cases
from strokelab.data.lesion_masks import masks_of
from strokelab.data.volumes import lesion_volume_ml
from strokelab.errors import DataError


def test_masks_of_a_cohort_and_of_a_folder(t1_cohort, tmp_path):
    cases = {case.case_id: case for case in read_cases("atlas_v1", t1_cohort)}
    masks = masks_of(f"atlas_v1:{t1_cohort}", 4, 0)
    assert len({mask.case_id for mask in masks}) == 4
    for mask in masks:
        millilitres = np.count_nonzero(mask.voxels) * mask.grid.voxel_volume_mm3 / 1000
        assert millilitres == lesion_volume_ml(cases[mask.case_id])
    assert [mask.case_id for mask in masks_of(f"atlas_v1:{t1_cohort}", 4, 0)] == [mask.case_id for mask in masks]
    (single,) = (case for case in cases.values() if case.case_id == masks[0].case_id)
    for file in single.lesions:
        (tmp_path / file.path.name).write_bytes(file.path.read_bytes())
    found = masks_of(str(tmp_path), 9, 0)
    np.testing.assert_array_equal(np.any([mask.voxels for mask in found], axis=0), masks[0].voxels != 0)


@pytest.mark.parametrize("source", ["nothing", "atlas_v1:nothing"])
def test_no_masks_are_an_error(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        masks_of(source, 3, 0)


def test_the_command_writes_sheet_and_table(t1_cohort, tmp_path):
    arguments = ["synthesise", str(tmp_path), "data.sources.synthetic.generator.strip.p=1", "--samples", "2"]
    arguments += ["--size", "32", "--spacing", "8", "--lesions", f"atlas_v1:{t1_cohort}"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "samples.csv")
    assert table["stripped"].tolist() == [True, True]
    assert {"lesion_ml", "mean_GM", "mean_WM", "mean_PV", "mean_CSF", "mean_lesion"} <= set(table.columns)
    assert (tmp_path / "samples.png").stat().st_size > 1000
