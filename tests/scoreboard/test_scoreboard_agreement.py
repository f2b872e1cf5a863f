"""``strokelab agreement``: two masks of which neither is the truth."""

import dataclasses
import math

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from mask_files import SHAPE, block, run, save

from strokelab.contract import LesionFile
from strokelab.data import read_cases
from strokelab.errors import DataError
from strokelab.scoreboard.agreement import agree, agreement_of, of_volumes, summary_of
from strokelab.scoreboard.masks import MaskRule
from strokelab.scoreboard.score import Reference
from strokelab.scoreboard.twins import Twin, retests, twins_in, twins_of_table

SAME = ("dice", "jaccard", "hd", "hd95", "assd", "lesion_agreement", "shared")
TURNED = (("first_touched", "second_touched"), ("lesion_f1_first", "lesion_f1_second"), ("only_first", "only_second"))


def twin(tmp_path, first: np.ndarray, second: np.ndarray, case: str = "c") -> Twin:
    one, other = save(tmp_path / f"{case}-1.nii.gz", first), save(tmp_path / f"{case}-2.nii.gz", second)
    return Twin(case, Reference(case, (LesionFile(one),)), Reference(case, (LesionFile(other),)), subject=case)


def test_one_lesion_over_two_counts_both_ways(tmp_path):
    """First: three single voxels. Second: one bar over two of them, and a voxel of its own."""
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[2, 2, 2] = first[6, 2, 2] = first[10, 10, 9] = 1
    second[2:7, 2, 2] = second[0, 9, 0] = 1
    row = agreement_of(twin(tmp_path, first, second), MaskRule())
    assert row["error"] == ""
    assert (row["first_lesions"], row["second_lesions"]) == (3, 2)
    assert row["first_touched"] == 2 / 3
    assert row["second_touched"] == 1 / 2
    assert row["lesion_agreement"] == (2 + 1) / (3 + 2)
    assert row["lesion_f1_first"] == 2 / (2 + (1 + 1) / 2)
    assert row["lesion_f1_second"] == 1 / (1 + (1 + 1) / 2)
    assert row["dice"] == 2 * 2 / (3 + 6)
    assert (row["shared"], row["only_first"], row["only_second"]) == (2, 1, 4)
    assert row["signed_volume_difference"] == pytest.approx((6 - 3) * 0.012)


@pytest.mark.parametrize("seed", range(4))
def test_turning_the_sides_turns_what_has_sides_and_nothing_else(tmp_path, seed):
    rng = np.random.default_rng(seed)
    pair = twin(tmp_path, *((rng.random(SHAPE) > 0.97).astype(np.uint8) for _ in range(2)))
    row = agreement_of(pair, MaskRule())
    back = agreement_of(dataclasses.replace(pair, first=pair.second, second=pair.first), MaskRule())
    for name in SAME:
        assert row[name] == pytest.approx(back[name], rel=1e-12), name
    for one, other in TURNED:
        assert (row[one], row[other]) == (back[other], back[one])
    assert row["signed_volume_difference"] == -back["signed_volume_difference"]


def test_empty_masks(tmp_path):
    nothing = np.zeros(SHAPE, np.uint8)
    both = agreement_of(twin(tmp_path, nothing, nothing), MaskRule())
    assert [both[name] for name in ("dice", "hd", "lesion_agreement", "first_touched")] == [1, 0, 1, 1]
    one = agreement_of(twin(tmp_path, block((1, 1, 1)), nothing), MaskRule())
    assert [one[name] for name in ("dice", "hd", "lesion_agreement", "first_touched")] == [0, math.inf, 0, 0]


def _table(volumes: list[tuple[float, float]]) -> pd.DataFrame:
    rows = [{"case": str(i), "subject": str(i), "first_ml": a, "second_ml": b} for i, (a, b) in enumerate(volumes)]
    return pd.DataFrame(rows).assign(error="")


def test_volumes_have_limits_of_differences_and_of_ratios():
    volumes = of_volumes(_table([(1, 2), (10, 20), (100, 200), (0, 0), (0, 3)]))
    assert volumes.differences.n == 5
    assert volumes.differences.bias == pytest.approx((1 + 10 + 100 + 0 + 3) / 5)
    assert (volumes.ratios.n, volumes.empty) == (3, 2)
    assert math.exp(volumes.ratios.bias) == pytest.approx(2)
    assert volumes.ratios.sd == pytest.approx(0, abs=1e-12)


def test_the_summary_has_intervals_and_counts_what_failed(tmp_path):
    rng = np.random.default_rng(0)
    masks = [[(rng.random(SHAPE) > 0.8).astype(np.uint8) for _ in range(2)] for _ in range(6)]
    pairs = [twin(tmp_path, *both, case=f"c{i}") for i, both in enumerate(masks)]
    pairs.append(Twin("c9", pairs[0].first, None, subject="c9"))
    table = agree(pairs, MaskRule(), workers=1)
    summary = summary_of(table, of_volumes(table)).set_index(["measure", "statistic"])
    dice = summary.loc[("dice", "mean")]
    assert (dice["n"], dice["failed"]) == (6, 1)
    assert dice["estimate"] == pytest.approx(table["dice"].mean())
    assert dice["low"] < dice["estimate"] < dice["high"]
    bias = summary.loc[("volume difference (ml)", "bias")]
    assert bias["estimate"] == pytest.approx((table["second_ml"] - table["first_ml"]).mean())
    ratio = summary.loc["volume ratio"]["estimate"]
    assert 0 < ratio["lower limit"] < ratio["bias"] < ratio["upper limit"]
    assert summary.loc[("volume (ml)", "ICC(A,1)"), "n"] == 6


def test_parallel_equals_serial(tmp_path):
    rng = np.random.default_rng(5)
    masks = [[(rng.random(SHAPE) > 0.9).astype(np.uint8) for _ in range(2)] for _ in range(4)]
    pairs = [twin(tmp_path, *both, case=f"c{i}") for i, both in enumerate(masks)]
    serial, parallel = (agree(pairs, MaskRule(), workers=workers) for workers in (1, 2))
    pd.testing.assert_frame_equal(serial, parallel, check_exact=True)


def test_two_raters_from_folders_to_files(tmp_path, monkeypatch, capsys):
    for index in range(1, 5):
        save(tmp_path / "anna" / f"sub-{index}_ses-1_desc-anna_mask.nii.gz", block((index, 1, 1)))
        save(tmp_path / "ben" / f"sub-{index}" / f"sub-{index}_desc-ben_mask.nii.gz", block((index, 2, 1)) * 255)
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("kept")
    command = ("agreement", tmp_path / "anna", tmp_path / "ben", "--out", tmp_path / "o")
    status, shown = run(monkeypatch, capsys, *command)
    assert status == 0, shown
    assert "anna and ben: 4 pairs of 4 subjects" in shown
    table = pd.read_csv(tmp_path / "o" / "agreement.csv")
    assert table["case"].tolist() == [f"sub-{index}_ses-1" for index in range(1, 5)]
    assert table["dice"].tolist() == pytest.approx([2 * 18 / 54] * 4)
    for name in ("summary.csv", "bland_altman.png", "bland_altman.pdf", "mine.txt"):
        assert (tmp_path / "o" / name).stat().st_size > 0
    (tmp_path / "ben" / "sub-3" / "sub-3_desc-ben_mask.nii.gz").unlink()
    save(tmp_path / "ben" / "sub-7_mask.nii.gz", block((1, 1, 1)))
    status, shown = run(monkeypatch, capsys, *command)
    assert status == 1
    assert "2 of 5 pairs failed" in shown
    assert "sub-3_ses-1" in shown
    assert "sub-7" in shown
    errors = pd.read_csv(tmp_path / "o" / "agreement.csv").set_index("case")["error"].fillna("")
    assert "on the first side only" in errors["sub-3_ses-1"]
    assert "on the second side only" in errors["sub-7"]


def test_nothing_could_be_compared(tmp_path, monkeypatch, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.nii.gz").write_bytes(b"no image")
    status, shown = run(monkeypatch, capsys, "agreement", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "o")
    assert status == 1
    assert "1 of 1 pairs failed" in shown
    assert (tmp_path / "o" / "bland_altman.png").is_file()


def test_a_table_of_pairs(tmp_path, monkeypatch, capsys):
    save(tmp_path / "x.nii.gz", block((1, 1, 1)))
    save(tmp_path / "y.nii.gz", block((7, 6, 5)))
    save(tmp_path / "z.nii.gz", block((1, 1, 1), (7, 6, 5)))
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("case;first;second;subject\n10;x.nii.gz;z.nii.gz;anna\n2;z.nii.gz;x.nii.gz;\n")
    status, shown = run(monkeypatch, capsys, "agreement", "--pairs", pairs, "--out", tmp_path / "o")
    assert status == 0, shown
    table = pd.read_csv(tmp_path / "o" / "agreement.csv", dtype={"case": str})
    assert table["case"].tolist() == ["2", "10"]
    assert table["subject"].tolist() == ["2", "anna"]
    assert table["signed_volume_difference"].tolist() == pytest.approx([-27 * 0.012, 27 * 0.012])
    pairs.write_text("case,first,second\n1,x.nii.gz;y.nii.gz,z.nii.gz\n")
    assert agree(twins_of_table(pairs).pairs, MaskRule(), workers=1)["dice"].tolist() == [1.0], "two masks are united"
    for content in ("case,first\n1,x\n", "case,first,second\n", "case,first,second\n1,x,y\n1,x,y\n"):
        pairs.write_text(content)
        with pytest.raises(DataError, match=r"pairs\.csv"):
            twins_of_table(pairs)


def test_visits_of_one_person_are_compared_with_the_next(t1_cohort, tmp_path, monkeypatch, capsys):
    visits = [case for case in read_cases("atlas_v1", t1_cohort) if case.case_id.endswith("_t02")]
    assert visits, "the phantom has people scanned twice"
    status, shown = run(monkeypatch, capsys, "agreement", t1_cohort, "--dataset", "atlas_v1", "--out", tmp_path / "o")
    assert status == 0, shown
    table = pd.read_csv(tmp_path / "o" / "agreement.csv", dtype={"subject": str})
    assert table["case"].tolist() == [f"{case.subject_id}_t01 t02" for case in visits]
    assert table["dice"].tolist() == [1.0] * len(visits), "the phantom draws the same lesions again"
    assert "subjects were scanned once" in shown


def test_a_dataset_has_its_own_rule_for_masks(t1_cohort, monkeypatch, capsys):
    status, shown = run(monkeypatch, capsys, "agreement", t1_cohort, "--dataset", "atlas_v1", "--threshold", 0.5)
    assert (status, "own rule" in shown) == (1, True)


def test_three_visits_are_two_pairs_and_other_grids_are_no_retest(tmp_path):
    for visit, (mask, spacing) in enumerate(
        [(block((1, 1, 1)), 2.0), (block((2, 1, 1)), 2.0), (block((2, 1, 1)), 3.0)]
    ):
        affine = np.diag([spacing, spacing, spacing, 1.0])
        folder = tmp_path / "Training" / "R001" / "sub-r001s001" / f"ses-{visit + 1}" / "anat"
        stem = f"sub-r001s001_ses-{visit + 1}_space-MNI152NLin2009aSym"
        save(folder / f"{stem}_T1w.nii.gz", np.ones(SHAPE, np.float32), affine)
        save(folder / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", mask, affine)
    twins = retests("atlas_v2", tmp_path)
    assert [pair.case for pair in twins.pairs] == ["sub-r001s001_ses-1 ses-2", "sub-r001s001_ses-2 ses-3"]
    assert {pair.subject for pair in twins.pairs} == {"sub-r001s001"}
    table = agree(twins.pairs, MaskRule(), workers=1)
    assert table["dice"].iloc[0] == pytest.approx(2 * 18 / 54)
    assert "grid" in table["error"].iloc[1]


def test_nobody_scanned_twice(isles_cohort):
    with pytest.raises(DataError, match="each scanned once"):
        retests("isles2022", isles_cohort)


def test_other_grids_of_two_raters_are_noted_or_refused(tmp_path):
    mask = block((4, 4, 4))
    save(tmp_path / "a" / "1.nii.gz", mask, np.diag([2.0, 2, 2, 1]))
    fine = np.repeat(np.repeat(np.repeat(mask, 2, 0), 2, 1), 2, 2)
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = -0.5
    save(tmp_path / "b" / "1.nii.gz", fine, affine)
    pairs = twins_in(tmp_path / "a", tmp_path / "b").pairs
    (row,) = agree(pairs, MaskRule(), workers=1).to_dict("records")
    assert "second: brought to" in row["note"]
    assert row["dice"] == pytest.approx(1)
    assert "strict" in agree(pairs, MaskRule(), workers=1, strict_grid=True)["error"].iloc[0]


@pytest.mark.parametrize("arguments", [(), ("a",), ("a", "b", "--dataset", "atlas_v1"), ("--pairs", "x.csv", "a")])
def test_one_of_three_ways(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    status, shown = run(monkeypatch, capsys, "agreement", *arguments)
    assert status == 1
    assert "--dataset NAME" in shown
    assert not (tmp_path / "agreement").exists()


def test_probability_maps_with_a_threshold(tmp_path):
    one = save(tmp_path / "a" / "1.nii.gz", block((1, 1, 1)) * np.float32(0.4))
    save(tmp_path / "b" / "1.nii.gz", block((1, 1, 1)))
    assert nib.load(one).get_data_dtype() == np.float32
    pairs = twins_in(tmp_path / "a", tmp_path / "b", graded=True).pairs
    assert agree(pairs, MaskRule(threshold=0.4), workers=1)["dice"].tolist() == [1.0]
    assert agree(pairs, MaskRule(threshold=0.5), workers=1)["dice"].tolist() == [0.0]
