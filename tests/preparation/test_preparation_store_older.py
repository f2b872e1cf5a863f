"""Entries of older code in a store: used where they are what today's code would make, else prepared anew."""

import json
import logging
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from preparation_cases import oriented

from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore

SHAPE = (10, 12, 8)
T1W = Preparation(("T1w",))


@pytest.fixture
def store(tmp_path):
    return PreparedStore(tmp_path / "store")


@pytest.fixture
def prepared_now(caplog):
    """How many cases were prepared since the last call."""
    caplog.set_level(logging.DEBUG, logger="strokelab.preparation.store")

    def count() -> int:
        number = sum("prepared, brain mask" in record.getMessage() for record in caplog.records)
        caplog.clear()
        return number

    return count


def go(store, cases):
    return store.prepare(cases, T1W, progress=False)


def lesion_at(*voxel):
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[voxel] = 1
    return lesion


def of_older_code(stored, **changes):
    """Make an entry what older code wrote: no forms of the native header, and whatever else differs."""
    path = stored.entry / "case.json"
    content = json.loads(path.read_text())
    del content["native"]["forms"]
    content["native"].update(changes)
    path.write_text(json.dumps(content))


def test_header_forms_travel_with_an_entry_and_are_read_again_for_older_ones(make_case, store, prepared_now):
    case = make_case(lesion=lesion_at(5, 6, 4))
    written = nib.load(case.reference_image)
    image = nib.Nifti1Image(written.get_fdata(dtype=np.float32).copy(), written.affine)
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 3)
    nib.save(image, case.reference_image)
    [stored] = go(store, [case])
    assert prepared_now() == 1
    assert stored.load().native.forms.codes == (3, 1)
    of_older_code(stored)
    [again] = go(store, [case])
    assert prepared_now() == 0
    assert again == stored
    assert again.load().native.forms == stored.native.forms


def test_older_entries_that_are_read_otherwise_today_are_prepared_anew(make_case, store, prepared_now):
    [stored] = go(store, [make_case(lesion=lesion_at(5, 6, 4))])
    of_older_code(stored, affine=(stored.native.matrix * 1000).tolist())  # micrometres taken for millimetres
    [empty] = go(store, [make_case("e", lesion=np.zeros(SHAPE, np.uint8))])
    of_older_code(empty)  # perhaps 255 stored as -1
    assert prepared_now() == 2
    for _ in range(2):
        go(store, [make_case(lesion=lesion_at(5, 6, 4)), make_case("e", lesion=np.zeros(SHAPE, np.uint8))])
    assert prepared_now() == 2


def test_both_files_of_a_pair_count(make_case, store):
    case = make_case()
    voxels = nib.load(case.reference_image).get_fdata(dtype=np.float32)
    path = case.reference_image.with_suffix(".img")
    pair = replace(case, images={"T1w": path})
    keys = []
    for affine in (oriented("RAS", SHAPE), oriented("RAS", SHAPE, 2.0)):
        nib.save(nib.Nifti1Pair(voxels, affine), path)
        keys.append(store.key(pair, T1W))
    assert keys[0] != keys[1]
    [stored] = go(store, [pair])
    assert stored.grid.spacing == (2, 2, 2)
