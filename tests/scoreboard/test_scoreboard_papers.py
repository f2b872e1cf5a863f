"""Masks of any tool, scored against a known dataset, stand beside what papers print of it."""

import nibabel as nib
import numpy as np
import pandas as pd
from typer.testing import CliRunner

from strokelab import cli
from strokelab.phantoms.cohort import write_cohort


def test_scored_masks_stand_in_the_tables_of_their_dataset(tmp_path):
    root = write_cohort("atlas_v2", tmp_path / "data", spacing=8, sites=1, cases_per_site=2, seed=0, workers=1)
    theirs = tmp_path / "tool"
    theirs.mkdir()
    for path in sorted(root.rglob("*T1lesion_mask.nii.gz")):
        image = nib.load(path)
        name = path.name.replace("_label-L_desc-T1lesion_mask", "_label-lesion_mask")
        nib.save(nib.Nifti1Image((np.asarray(image.dataobj) > 0).astype(np.uint8), image.affine), theirs / name)
    arguments = ["score", str(theirs), str(root), "--dataset", "atlas_v2", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, [*arguments, "--workers", "1"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "out" / "tables" / "paper_mapping_table1.csv", index_col="Method")
    assert table.loc["ours: tool", "Dice, ours"] == "1.000 ± 0.000"
    assert table.loc["Default", "Dice, paper"] == "0.636 ± 0.269"
    assert not (tmp_path / "out" / "tables" / "paper_sgnet_table5.csv").exists()
