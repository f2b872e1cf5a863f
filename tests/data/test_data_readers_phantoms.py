"""Phantom trees and readers share no code: what one wrote, the other must find."""

from __future__ import annotations

import csv

import pytest

from strokelab.data import read_cases
from strokelab.nifti import read_grid, read_lesion
from strokelab.phantoms.cohort import write_cohort

TREES = [
    ("atlas_v1", {"form": "indi"}, {}),
    ("atlas_v1", {"form": "icpsr"}, {}),
    ("atlas_v2", {"form": "release"}, {"subset": "all"}),
    ("atlas_v2", {"form": "bidsified"}, {"subset": "all"}),
    ("isles2015_siss", {"form": "vsd"}, {}),
    ("isles2015_siss", {"form": "flat"}, {}),
    ("isles2015_spes", {"labels": "values"}, {}),
    ("isles2015_spes", {"labels": "files"}, {}),
    ("isles2022", {"form": "zenodo"}, {}),
    ("isles2022", {"form": "challenge"}, {}),
    ("bids", {"sessions": "two"}, {}),
    ("bids", {"sessions": "none", "runs": "two"}, {"repeats": "last"}),
]


@pytest.mark.parametrize(("layout", "written", "read"), TREES, ids=[f"{t[0]}-{'-'.join(t[1].values())}" for t in TREES])
def test_readers_find_exactly_what_was_written(tmp_path, layout, written, read):
    root = write_cohort(layout, tmp_path / "cohort", spacing=8.0, sites=2, cases_per_site=2, progress=False, **written)
    with (root / "phantom_truth.csv").open() as handle:
        truth = {row["case"]: row for row in csv.DictReader(handle)}
    cases = {case.case_id: case for case in read_cases(layout, root, **read)}
    assert set(cases) == set(truth)
    for name, case in cases.items():
        assert (case.subject_id, case.site) == (truth[name]["subject"], truth[name]["site"])
        assert case.labelled == (truth[name].get("labelled", "1") == "1")
        if case.labelled:
            lesion = read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image)
            assert int(lesion.sum()) == int(truth[name]["lesion_voxels"])
