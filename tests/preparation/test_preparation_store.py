import errno
import json
import logging
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
from preparation_cases import head, oriented, save

from strokelab.contract import LesionFile
from strokelab.errors import DataError, DataWarning
from strokelab.preparation import digests, stored_case
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.store import PreparedStore, StoreError

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


def go(store, cases, preparation=T1W, **options):
    return store.prepare(cases, preparation, progress=False, **options)


def lesion_at(*voxel):
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[voxel] = 1
    return lesion


def test_what_is_loaded_is_what_was_prepared(make_case, store):
    case = replace(make_case(lesion=lesion_at(5, 6, 4), affine=oriented("LPS", SHAPE)), site="Site3", subject_id="p9")
    settings = Preparation(("T1w",), crop=(8, 16, None))
    [stored] = go(store, [case], settings)
    fresh, loaded = prepare(case, settings), stored.load()
    for name in ("image", "lesion", "brain"):
        expected, found = getattr(fresh, name), getattr(loaded, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        assert not found.flags.writeable
    for name in ("case_id", "subject_id", "site", "channels", "grid", "steps", "native", "brain_source"):
        assert getattr(loaded, name) == getattr(fresh, name) == getattr(stored, name)
    assert stored.labelled
    assert stored.lesion_voxels == 1
    assert stored.brain_voxels_per_slice == tuple(fresh.brain.sum((0, 1)).tolist())


def test_several_masks_of_one_image_store_it_once(make_case, store, monkeypatch):
    """Pseudo-labels: the unlabelled case is stored when it is predicted, then with one mask per fold."""
    [bare] = go(store, [make_case()])
    both = []
    for place in (3, 4):  # one file with one content after the other
        case = make_case(lesion=lesion_at(5, 6, place))
        [stored], fresh = go(store, [case]), prepare(case, T1W)
        both.append(stored)
        for name in ("image", "brain"):
            assert (stored.entry / f"{name}.npy").samefile(bare.entry / f"{name}.npy")
        np.testing.assert_array_equal(stored.load().image, fresh.image)
        np.testing.assert_array_equal(stored.load().lesion, fresh.lesion)
    assert both[0].entry != both[1].entry

    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    [copied] = go(store, [make_case(lesion=lesion_at(5, 7, 4))])
    assert not (copied.entry / "image.npy").samefile(bare.entry / "image.npy")
    np.testing.assert_array_equal(copied.load().image, both[0].load().image)


def test_slices_lie_together_on_disk(make_case, store):
    [stored] = go(store, [make_case()])
    image = stored.load().image
    assert image.shape == (1, *SHAPE)
    assert image[0, :, :, 5].T.flags.c_contiguous
    assert type(image) is np.ndarray


def test_stored_cases_are_light_and_picklable(make_case, store):
    [stored] = go(store, [make_case(lesion=lesion_at(5, 6, 4))])
    text = pickle.dumps(stored)
    assert len(text) < 5000
    np.testing.assert_array_equal(pickle.loads(text).load().image, stored.load().image)


def test_unlabelled_and_empty_labels(make_case, store):
    unlabelled, empty = go(store, [make_case("u"), make_case("e", lesion=np.zeros(SHAPE, dtype=np.uint8))])
    assert (unlabelled.lesion_voxels, unlabelled.labelled, unlabelled.load().lesion) == (None, False, None)
    assert (empty.lesion_voxels, empty.labelled) == (0, True)
    assert not empty.load().lesion.any()


def test_second_time_nothing_is_prepared_and_order_is_kept(make_case, store, prepared_now):
    cases = [make_case(name) for name in "cab"]
    first = go(store, cases)
    assert prepared_now() == 3
    assert go(store, cases[::-1]) == first[::-1]
    assert prepared_now() == 0


def test_each_setting_makes_another_entry(make_case, store):
    case = make_case()
    variants = [
        T1W,
        replace(T1W, normalize="zscore_brain"),
        replace(T1W, crop=(8, 8, None)),
        replace(T1W, crop=(8, 8, None), offset=(0, None, None)),
        replace(T1W, spacing=(2, 2, 2)),
    ]
    assert len({go(store, [case], variant)[0].entry for variant in variants}) == len(variants)


def test_each_input_makes_another_entry(make_case, store):
    case = make_case(lesion=lesion_at(5, 6, 4), brain=np.ones(SHAPE, dtype=np.uint8))
    key = store.key(case, T1W)
    assert store.key(replace(case, lesions=()), T1W) != key
    assert store.key(replace(case, brain=None), T1W) != key
    assert store.key(replace(case, lesions=(LesionFile(case.lesions[0].path, above=0.0),)), T1W) != key
    assert store.key(replace(case, case_id="z", subject_id="y", site="Site1"), T1W) == key
    for path in (case.images["T1w"], case.lesions[0].path, case.brain):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert store.key(case, T1W) != key
        path.write_bytes(content)
    assert store.key(case, T1W) == key


def test_ids_and_sites_are_the_case_s_not_the_entry_s(make_case, store, prepared_now):
    case = make_case()
    first, second = go(store, [case, replace(case, case_id="twin", subject_id="other", site="Site2")])
    assert prepared_now() == 1
    assert first.entry == second.entry
    assert (second.load().case_id, second.load().subject_id, second.load().site) == ("twin", "other", "Site2")


@pytest.mark.parametrize("settled", [2.0, -1e9])
def test_changed_content_is_never_read_stale_even_with_equal_size_and_time(make_case, store, monkeypatch, settled):
    monkeypatch.setattr(digests, "SETTLED_SECONDS", settled)
    case = make_case()
    path = case.images["T1w"]
    [before] = go(store, [case])
    status = path.stat()
    save(path, head(SHAPE, seed=77), oriented("RAS", SHAPE))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    [after] = go(store, [case])
    assert after.entry != before.entry
    np.testing.assert_array_equal(after.load().image, prepare(case, T1W).image)


def test_files_at_rest_are_hashed_once(make_case, store, monkeypatch):
    case = make_case(lesion=lesion_at(5, 6, 4))
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -1e9)  # as if written long ago
    key = store.key(case, T1W)

    def forbidden(path):
        raise AssertionError(f"hashed again: {path}")

    monkeypatch.setattr(digests, "file_digest", forbidden)
    assert store.key(case, T1W) == key
    assert PreparedStore(store.folder).key(case, T1W) == key


@pytest.mark.parametrize("harm", ["cut", "gone", "no description", "torn description"])
def test_damaged_entries_are_made_anew(make_case, store, prepared_now, harm):
    case = make_case()
    [stored] = go(store, [case])
    if harm == "cut":
        os.truncate(stored.entry / "image.npy", 500)
    elif harm == "gone":
        (stored.entry / "brain.npy").unlink()
    elif harm == "no description":
        (stored.entry / "case.json").unlink()
    else:
        (stored.entry / "case.json").write_text('{"channels": ["T1')
    prepared_now()
    [again] = go(store, [case])
    assert prepared_now() == 1
    np.testing.assert_array_equal(again.load().image, prepare(case, T1W).image)


def test_loading_what_has_gone_says_so(make_case, store):
    [stored] = go(store, [make_case()])
    (stored.entry / "image.npy").unlink()
    with pytest.raises(DataError, match=r"image\.npy"):
        stored.load()


def test_one_error_names_every_failing_case_and_the_others_are_kept(make_case, store, prepared_now):
    cases = [make_case(name) for name in ("fine", "torn", "good", "flat")]
    torn, flat = cases[1].images["T1w"], cases[3].images["T1w"]
    whole = torn.read_bytes()
    torn.write_bytes(whole[:900])
    save(flat, np.ones(SHAPE, np.float32), oriented("RAS", SHAPE))
    with pytest.raises(DataError) as error:
        go(store, cases)
    message = str(error.value)
    assert all(text in message for text in ("torn", str(torn), "flat", str(flat), "constant", "2 of 4"))
    assert "case fine" not in message
    assert prepared_now() == 2
    torn.write_bytes(whole)
    go(store, cases[:3])
    assert prepared_now() == 1


def test_a_single_failure_is_raised_as_it_is(make_case, store):
    case = make_case("sub-3", images={"DWI": head(SHAPE)})
    with pytest.raises(DataError, match=r"sub-3[\s\S]*DWI[\s\S]*T1w"):
        go(store, [case, make_case("b")])
    with pytest.raises(DataError, match=r"gone\.nii[\s\S]*readable"):
        go(store, [replace(case, images={"T1w": case.images["DWI"].with_name("gone.nii")})])


def test_duplicate_ids_are_refused(make_case, store):
    with pytest.raises(DataError, match="twice"):
        go(store, [make_case("a"), make_case("a")])


def test_full_disk_ends_at_once_and_leaves_nothing_half_written(make_case, store, monkeypatch):
    def full(path, array):
        path.write_bytes(b"x" * 100)
        raise OSError(errno.ENOSPC, "No space left on device")

    calls = []
    monkeypatch.setattr(stored_case.np, "save", lambda *a: (calls.append(a), full(*a)))
    with pytest.raises(StoreError, match="No space left") as error:
        go(store, [make_case(name) for name in "abc"])
    assert error.value.where == str(store.folder)
    assert len(calls) == 1
    assert not [path for path in store.folder.rglob("*.npy")]


def test_a_store_that_cannot_be_written_to(make_case, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file"):
        go(PreparedStore(tmp_path / "file"), [make_case()])


def test_files_that_change_under_our_hands_are_refused(make_case, store, monkeypatch):
    case = make_case()

    def slow(case, preparation):
        result = prepare(case, preparation)
        save(case.images["T1w"], head(SHAPE, seed=5), oriented("RAS", SHAPE))
        return result

    monkeypatch.setattr("strokelab.preparation.store.prepare", slow)
    with pytest.raises(DataError, match="changed while"):
        go(store, [case])
    assert not list(store.folder.rglob("case.json"))


@pytest.mark.parametrize("workers", [1, 2])
def test_warnings_of_workers_arrive(make_case, store, workers):
    images = [head(SHAPE, seed) for seed in range(2)]
    images[1][3, 3, 3] = np.inf
    cases = [make_case(f"w{i}", images={"T1w": image}) for i, image in enumerate(images)]
    with pytest.warns(DataWarning, match=r"w1/T1w\.nii: 1 voxels"):
        go(store, cases, workers=workers)


def test_workers_make_the_same_entries_and_collect_failures(make_case, store, tmp_path):
    cases = [make_case(f"p{i}") for i in range(4)]
    cases.append(make_case("flat", images={"T1w": np.ones(SHAPE, np.float32)}))
    cases.append(make_case("other", images={"DWI": head(SHAPE)}))
    with pytest.raises(DataError, match=r"2 of 6[\s\S]*"):
        go(store, cases, workers=2)
    alone = PreparedStore(tmp_path / "alone")
    for two, one in zip(go(store, cases[:4]), go(alone, cases[:4]), strict=True):
        assert two.entry.relative_to(store.folder) == one.entry.relative_to(alone.folder)
        assert (two.entry / "image.npy").read_bytes() == (one.entry / "image.npy").read_bytes()


def test_no_file_stays_open_over_a_thousand_cases(make_case, store):
    case = make_case(lesion=lesion_at(5, 6, 4))
    cohort = go(store, [replace(case, case_id=f"c{i}") for i in range(1100)])
    before = len(os.listdir("/proc/self/fd"))
    total = sum(int(stored.load().lesion.sum()) for stored in cohort)
    assert total == 1100
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_the_description_can_be_read_by_people(make_case, store):
    case = make_case(lesion=lesion_at(5, 6, 4))
    [stored] = go(store, [case])
    content = json.loads((stored.entry / "case.json").read_text())
    assert content["preparation"] == T1W.to_json()
    assert content["brain_source"] == "estimated"
    assert set(content["images"]) == {"T1w"}
    assert content["version"] == 1
