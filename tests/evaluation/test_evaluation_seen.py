"""Which subjects a run has seen: its own, and those of ATLAS v1.2 under their ids in v2.0."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from strokelab.contract import Case
from strokelab.data.splits import Split
from strokelab.evaluation.datasets import Dataset
from strokelab.evaluation.seen import Memory, untold


def case(case_id, subject, dataset, **meta):
    return Case(case_id, subject, dataset, None, {"T1w": Path(f"{case_id}.nii.gz")}, meta=meta)


def trained(folder, dataset, subjects, *, phantom=None, tested=(), options=None, val=()):
    """A run that was trained on a scan of each subject."""
    about = {f"{name}_t01": (name, "") for name in (*subjects, *val, *tested)}
    parts = (tuple(f"{name}_t01" for name in part) for part in (subjects, val, tested))
    cohort = {"dataset": dataset, "root": "/gone", "options": options or {}}
    return SimpleNamespace(
        folder=folder, label="r", split=Split(*parts, about), cohort=cohort, root=None, phantom=phantom
    )


def dataset(reader, *cases, phantom=False):
    return Dataset(reader, reader, Path("/data"), cases, phantom=phantom)


V1 = [case(f"{n}_t01", n, "atlas_v1") for n in ("031768", "031769", "031770")]
OLD = case("sub-r001s001_t01", "sub-r001s001", "atlas_v2", **{"atlas 1.2": "Yes", "indi subject id": 31768})
OLD_TOO = case("sub-r001s002_t01", "sub-r001s002", "atlas_v2", **{"atlas 1.2": "Yes", "indi subject id": "31769"})
NAMELESS = case("sub-r001s003_t01", "sub-r001s003", "atlas_v2", **{"atlas 1.2": "Yes", "indi subject id": ""})
NEW = case("sub-r001s004_t01", "sub-r001s004", "atlas_v2", **{"atlas 1.2": "No"})
BARE = case("sub-r001s005_t01", "sub-r001s005", "atlas_v2")


def test_subjects_that_trained_or_validated_are_left_out_with_all_their_scans(tmp_path):
    run = trained(tmp_path, "atlas_v1", ["031768"], val=["031769"], tested=["031770"])
    second = case("031768_t02", "031768", "atlas_v1")
    found = Memory([]).of(run, dataset("atlas_v1", *V1, second))
    assert found.cases == {"031768_t01", "031768_t02", "031769_t01"}
    assert found.subjects == 2


def test_a_run_of_v1_has_seen_its_subjects_in_v2_and_whom_the_table_leaves_open(tmp_path):
    run = trained(tmp_path, "atlas_v1", ["031768"], tested=["031769"])
    tested = dataset("atlas_v2", OLD, OLD_TOO, NAMELESS, NEW)
    assert Memory([tested]).of(run, tested).cases == {"sub-r001s001_t01", "sub-r001s003_t01"}
    coded = trained(tmp_path, "atlas_v1", ["c0001s0004"])  # ids that the table does not have
    assert Memory([tested]).of(coded, tested).cases == {"sub-r001s001_t01", "sub-r001s002_t01", "sub-r001s003_t01"}
    assert "no metadata" in Memory([]).of(run, dataset("atlas_v2", BARE)).unknown


def test_a_run_of_v2_has_seen_those_of_v1_that_its_metadata_name(tmp_path):
    tested = dataset("atlas_v1", *V1)
    run = trained(tmp_path, "atlas_v2", ["sub-r001s001", "sub-r001s004"], tested=["sub-r001s002"])
    known = dataset("atlas_v2", OLD, OLD_TOO, NEW)
    assert Memory([tested, known]).of(run, tested).cases == {"031768_t01"}
    assert "not known" in Memory([tested]).of(run, tested).unknown  # nothing tells who trained
    elsewhere = dataset("atlas_v2", OLD, OLD_TOO, NAMELESS)  # of its own release the ids are enough
    assert Memory([known]).of(run, elsewhere).cases == {"sub-r001s001_t01"}
    assert not Memory([known]).of(run, dataset("atlas_v2", BARE)).unknown
    open_one = trained(tmp_path, "atlas_v2", ["sub-r001s003"])
    assert "metadata lack" in Memory([dataset("atlas_v2", NAMELESS)]).of(open_one, tested).unknown
    without = trained(tmp_path, "atlas_v2", ["sub-r001s004"], options={"without_v1": True})
    assert not Memory([tested]).of(without, tested).cases


@pytest.mark.parametrize(("of_run", "of_data", "count"), [(True, False, 0), (False, True, 0), (None, False, 1)])
def test_phantoms_are_no_subjects_of_real_data(of_run, of_data, count, tmp_path):
    run = trained(tmp_path, "atlas_v1", ["031768"], phantom=of_run)
    assert len(Memory([]).of(run, dataset("atlas_v1", *V1, phantom=of_data)).cases) == count


def test_the_run_that_gave_the_first_weights_counts_as_well(trained_unet, t1_cohort, tmp_path):
    (tmp_path / "init_weights.json").write_text(f'{{"run": "{trained_unet}"}}')
    split = Split.read(trained_unet / "split.csv")
    first = split.about[split.train[0]][0]
    found = Memory([]).of(
        trained(tmp_path, "isles2022", ["sub-1"]), dataset("atlas_v1", case(f"{first}_t01", first, "atlas_v1"))
    )
    assert found.subjects == 1


def test_a_run_that_does_not_say_whom_it_saw_is_doubted(tmp_path):
    assert "not recorded" in untold(trained(tmp_path, "atlas_v1", []), [])[0]
    assert not untold(trained(tmp_path, "atlas_v1", ["031768"]), [])


def test_a_run_of_several_datasets_has_seen_subjects_of_each(tmp_path):
    datasets = {"old": {"dataset": "atlas_v1"}, "isles2022": None}
    run = trained(tmp_path, "several", ["old_031768", "isles2022_sub-1"], options={"datasets": datasets})
    assert Memory([]).of(run, dataset("atlas_v1", *V1)).cases == {"031768_t01"}
    stroke = [case(f"{name}_t01", name, "isles2022") for name in ("sub-1", "sub-2")]
    assert Memory([]).of(run, dataset("isles2022", *stroke)).cases == {"sub-1_t01"}
    damaged = trained(tmp_path, "several", ["x_1"], options={"datasets": "none"})
    assert not Memory([]).of(damaged, dataset("isles2022", *stroke)).cases
