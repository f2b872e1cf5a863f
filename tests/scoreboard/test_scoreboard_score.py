"""``strokelab score``: from files to tables and a report, with every kind of bad input."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from mask_files import AFFINE, SHAPE, block, run, save, touch

from strokelab.contract import LesionFile
from strokelab.errors import DataError
from strokelab.metrics import score_row
from strokelab.phantoms.cohort import write_cohort
from strokelab.report.material import Evaluation
from strokelab.report.summary import line_of, summary_table
from strokelab.scoreboard.entries import entries_of_table, matched_entries, with_participants
from strokelab.scoreboard.masks import MaskRule
from strokelab.scoreboard.page import evaluation_of
from strokelab.scoreboard.references import references_in
from strokelab.scoreboard.score import Entry, Reference, Rules, score_entries
from strokelab.scoring import read_scores

TRUE = block((1, 1, 1), (7, 6, 5))
NEAR = block((2, 1, 1))
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "isles2022-sample"


@pytest.fixture
def board(tmp_path) -> Path:
    """Three references of two sites, predictions of one tool."""
    for subject in ("r001s001", "r001s002", "r002s010"):
        stem = f"sub-{subject}_ses-1"
        save(tmp_path / "refs" / f"sub-{subject}" / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", TRUE * 255)
        save(tmp_path / "refs" / f"sub-{subject}" / f"{stem}_T1w.nii.gz", np.random.default_rng(0).random(SHAPE))
        save(tmp_path / "tool" / f"{stem}_pred.nii.gz", NEAR)
    return tmp_path


@pytest.fixture
def evaluations(monkeypatch) -> list[Evaluation]:
    """What the page would be made from, without the seconds it takes to make it."""
    seen: list[Evaluation] = []

    def keep(evaluation: Evaluation, folder: Path) -> Path:
        seen.append(evaluation)
        return folder / "report.html"

    monkeypatch.setattr("strokelab.scoreboard.page.write_report", keep)
    return seen


def table(folder: Path) -> pd.DataFrame:
    return read_scores(folder / "cases.csv", _probabilities(folder)).cases.set_index(["run", "case"])


def _probabilities(folder: Path) -> Path:
    path = folder / "probabilities.csv"
    if not path.exists():
        path.write_text("run,case,bin,lesion,healthy,mass\n")
    return path


def test_folders_to_tables_and_report(board, monkeypatch, capsys):
    out = board / "out"
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "mine.txt").write_text("kept")
    status, shown = run(
        monkeypatch, capsys, "score", board / "tool", board / "refs", "--images", board / "refs", "--out", out
    )
    assert status == 0, shown
    for name in ("cases.csv", "summary.csv", "report.html"):
        assert (out / name).is_file()
        assert str(out / name) in shown
    assert (out / "figures" / "mine.txt").read_text() == "kept"
    assert not (out / "probabilities.csv").exists()
    rows = table(out)
    assert [case for _, case in rows.index] == ["sub-r001s001_ses-1", "sub-r001s002_ses-1", "sub-r002s010_ses-1"]
    assert rows["subject"].tolist() == ["sub-r001s001", "sub-r001s002", "sub-r002s010"]
    assert rows["site"].tolist() == ["R001", "R001", "R002"]
    expected = score_row(NEAR, TRUE, (2.0, 2.0, 3.0), voxel_volume_mm3=12.0)
    for name in ("dice", "hd95", "lesion_f1", "tp", "fp", "prediction_ml"):
        assert rows[name].tolist() == [expected[name]] * 3, name
    assert rows["dice"].iloc[0] == 2 * 18 / (27 + 54)
    assert rows["lesion_ml"].iloc[0] == pytest.approx(54 * 0.012)
    assert "tool" in shown
    assert "3 files are called like images" in shown
    page = (out / "report.html").read_text()
    assert "tool against refs" in page
    assert "sub-r002s010_ses-1" in page


def test_two_files(board, evaluations, monkeypatch, capsys):
    prediction = save(board / "any name.nii", NEAR)
    reference = next((board / "refs").rglob("sub-r002s010*mask.nii.gz"))
    status, shown = run(monkeypatch, capsys, "score", prediction, reference, "--out", board / "o", "--workers", 1)
    assert status == 0, shown
    assert table(board / "o").index.tolist() == [("any name", "sub-r002s010_ses-1")]


def test_a_missing_prediction_is_a_failed_row_named_and_status_1(board, evaluations, monkeypatch, capsys):
    next((board / "tool").glob("*r001s002*")).unlink()
    status, shown = run(monkeypatch, capsys, "score", board / "tool", board / "refs", "--out", board / "o")
    assert status == 1
    assert "sub-r001s002_ses-1 (tool)" in shown
    assert "1 of 3 rows failed" in shown
    rows = table(board / "o")
    assert len(rows) == 3
    assert "no prediction" in rows.loc[("tool", "sub-r001s002_ses-1"), "error"]
    assert np.isnan(rows.loc[("tool", "sub-r001s002_ses-1"), "dice"])
    line = line_of(summary_table(evaluations[-1]), level="model")
    assert (line["n"], line["failed"]) == (2, 1)


def test_predictions_without_a_reference_are_refused_or_named(board, evaluations, monkeypatch, capsys):
    save(board / "tool" / "sub-r009s001_ses-1_pred.nii.gz", NEAR)
    command = ("score", board / "tool", board / "refs", "--out", board / "o")
    status, shown = run(monkeypatch, capsys, *command)
    assert status == 1
    assert "sub-r009s001" in shown
    assert "--allow-extra" in shown
    assert not (board / "o").exists(), "nothing is half done"
    status, shown = run(monkeypatch, capsys, *command, "--allow-extra")
    assert status == 0, shown
    assert "sub-r009s001" in shown
    assert "sub-r009s001" in " ".join(evaluations[-1].notes)
    assert len(table(board / "o")) == 3


def test_every_bad_file_is_a_row_and_the_others_go_on(tmp_path):
    good = save(tmp_path / "good.nii.gz", TRUE)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(good.read_bytes()[:100])
    far = AFFINE.copy()
    far[:3, 3] = 999
    bad = {
        "no such file": tmp_path / "nowhere.nii.gz",
        "damaged": cut,
        "label values": save(tmp_path / "labels.nii.gz", TRUE + NEAR),
        "probabilities": save(tmp_path / "map.nii.gz", TRUE * np.float32(0.3) + NEAR * np.float32(0.2)),
        "negative": save(tmp_path / "logits.nii.gz", TRUE.astype(np.float32) - 0.5),
        "four dimensions|4 dimensions": save(tmp_path / "two.nii.gz", np.stack([TRUE, NEAR], axis=-1)),
        "overlaps": save(tmp_path / "far.nii.gz", TRUE, far),
    }
    entries = [Entry("m", _reference(f"{i}", good), path) for i, path in enumerate(bad.values())]
    entries += [Entry("m", _reference("98", good), good), Entry("m", _reference("99", bad["damaged"]), good)]
    rows = score_entries(entries, Rules(), workers=1).cases.set_index("case")
    assert rows.index.tolist() == [*map(str, range(len(bad))), "98", "99"]
    for words, error in zip(bad, rows["error"], strict=False):
        assert pd.Series([error]).str.contains(words).all(), error
    assert rows.loc["98", "dice"] == 1
    assert rows.loc["98", "error"] == ""
    assert "one file" in rows.loc["98", "note"]
    assert "cut.nii.gz" in rows.loc["99", "error"], "the reference is to blame"


def _reference(case: str, *paths: Path, **about) -> Reference:
    return Reference(case, tuple(LesionFile(path) for path in paths), **about)


def test_all_rows_failed_still_gives_tables_and_page(board, monkeypatch, capsys):
    for path in (board / "tool").iterdir():
        path.write_bytes(b"no image")
    status, shown = run(monkeypatch, capsys, "score", board / "tool", board / "refs", "--out", board / "o")
    assert status == 1
    assert "3 of 3 rows failed" in shown
    assert (board / "o" / "report.html").is_file()
    assert len(table(board / "o")) == 3


def test_two_methods_are_compared(board, monkeypatch, capsys):
    for path in (board / "tool").iterdir():
        save(board / "other" / path.name, TRUE)
    arguments = ("score", board / "tool", board / "refs", "--name", "a", "--beside", f"b={board / 'other'}")
    status, shown = run(monkeypatch, capsys, *arguments, "--out", board / "o")
    assert status == 0, shown
    rows = table(board / "o")
    assert [name for name, _ in rows.index] == ["a"] * 3 + ["b"] * 3
    assert rows.loc["b", "dice"].tolist() == [1.0] * 3
    page = (board / "o" / "report.html").read_text()
    assert "b is ahead of a" in page
    assert "Wilcoxon" in page


def test_parallel_equals_serial_bit_for_bit(tmp_path):
    rng = np.random.default_rng(3)
    entries = []
    for case in range(7):
        true = save(tmp_path / f"t{case}.nii.gz", (rng.random(SHAPE) > 0.9).astype(np.uint8))
        for method in ("m", "n"):
            path = save(tmp_path / f"{method}{case}.nii.gz", rng.random(SHAPE, dtype=np.float32))
            entries.append(Entry(method, _reference(f"c{case}", true), path if case != 4 else None))
    rules = Rules(MaskRule(threshold=0.8))
    serial, parallel = (score_entries(entries, rules, workers=workers) for workers in (1, 3))
    pd.testing.assert_frame_equal(serial.cases, parallel.cases, check_exact=True)
    pd.testing.assert_frame_equal(serial.probabilities, parallel.probabilities, check_exact=True)
    assert serial.cases["case"].tolist() == [f"c{case}" for case in range(7)] * 2


def test_probability_maps_give_the_maximal_dice_and_masks_beside_them_do_not(board, evaluations, monkeypatch, capsys):
    for path in (board / "tool").iterdir():
        save(board / "maps" / path.name.replace("pred", "probseg"), TRUE * np.float32(0.3))
        save(board / "maps" / path.name.replace("pred", "mask"), NEAR)
    where = ("score", board / "tool", board / "refs", "--beside", f"maps={board / 'maps'}", "--out", board / "o")
    status, shown = run(monkeypatch, capsys, *where, "--threshold", 0.5)
    assert status == 0, shown
    rows = table(board / "o")
    assert rows.loc["maps", "dice"].tolist() == [0.0] * 3, "the maps were taken, whose mask at 0.5 is empty"
    assert rows.loc["maps", "mdsc"].tolist() == [1.0] * 3
    assert rows.loc["maps", "mdsc_threshold"].tolist() == [0.3] * 3
    assert rows.loc["tool", "mdsc"].isna().all()
    counts = pd.read_csv(board / "o" / "probabilities.csv")
    assert set(counts["run"]) == {"maps"}
    one = counts[counts["case"] == "sub-r001s001_ses-1"]
    assert one["lesion"].sum() == 54
    assert one["healthy"].sum() == np.prod(SHAPE) - 54
    assert one["mass"].sum() == pytest.approx(54 * np.float32(0.3))
    status, shown = run(monkeypatch, capsys, *where)
    assert status == 0, shown
    assert table(board / "o").loc["maps", "dice"].iloc[0] == pytest.approx(2 * 18 / 81), "without a threshold the masks"
    assert pd.read_csv(board / "o" / "probabilities.csv").empty, "those of the earlier scoring do not fit any more"


def test_labels_and_thresholds_of_each_side(board):
    save(board / "tool" / "sub-r001s001_ses-1_pred.nii.gz", NEAR * 3 + TRUE)
    reference = next((board / "refs").rglob("*r001s001*mask.nii.gz"))
    save(reference, TRUE * np.float32(0.4))
    entry = Entry("m", _reference("1", reference), board / "tool" / "sub-r001s001_ses-1_pred.nii.gz")
    rules = Rules(MaskRule(labels=(3, 4)), MaskRule(threshold=0.2))
    assert score_entries([entry], rules, workers=1).cases["dice"].tolist() == [2 * 18 / 81]


def test_other_grids_are_noted_or_refused(board, evaluations, monkeypatch, capsys):
    flipped = AFFINE @ np.diag([-1, 1, 1, 1.0])
    flipped[0, 3] = AFFINE[0, 0] * (SHAPE[0] - 1) + 0.1  # a twentieth of a voxel more than a flip
    save(board / "tool" / "sub-r001s002_ses-1_pred.nii.gz", NEAR[::-1], flipped)
    command = ("score", board / "tool", board / "refs", "--out", board / "o")
    status, shown = run(monkeypatch, capsys, *command)
    assert status == 0, shown
    rows = table(board / "o").loc["tool"]
    assert rows["dice"].tolist() == [2 * 18 / 81] * 3
    assert "nearest neighbour" in rows.loc["sub-r001s002_ses-1", "note"]
    assert rows["note"].isna().tolist() == [True, False, True]
    assert "nearest neighbour (0.32 ml before" in evaluations[-1].notes[-2]
    status, shown = run(monkeypatch, capsys, *command, "--strict-grid")
    assert status == 1
    assert table(board / "o")["error"].map(bool).tolist() == [False, True, False]


def test_nan_in_a_prediction_is_noted(tmp_path):
    voxels = NEAR.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    entry = Entry("m", _reference("1", save(tmp_path / "t.nii.gz", TRUE)), save(tmp_path / "p.nii.gz", voxels))
    row = score_entries([entry], Rules(), workers=1).cases.iloc[0]
    assert "1 voxels are NaN" in row["note"]
    assert row["dice"] == 2 * 18 / 81


def test_a_table_of_pairs(tmp_path, evaluations, monkeypatch, capsys):
    (tmp_path / "files").mkdir()
    for name, mask in (("t1", block((1, 1, 1))), ("t2", block((7, 6, 5))), ("p", NEAR), ("q", TRUE)):
        save(tmp_path / "files" / f"{name}.nii.gz", mask)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(
        "case,prediction,reference,site,scanner,method,subject,remark\n"
        "0012,files/p.nii.gz,files/t1.nii.gz;files/t2.nii.gz,Oslo,Trio,new,anna,x\n"
        "0012,files/q.nii.gz,files/t1.nii.gz;files/t2.nii.gz,Oslo,Trio,old,anna,\n"
        "2,,files/t1.nii.gz,,n/a,new,,\n"
    )
    status, shown = run(monkeypatch, capsys, "score", "--pairs", pairs, "--out", tmp_path / "o")
    assert status == 1
    assert "remark" in shown
    rows = table(tmp_path / "o")
    assert rows.index.tolist() == [("new", "2"), ("new", "0012"), ("old", "2"), ("old", "0012")]
    assert rows.loc[("new", "0012"), "dice"] == 2 * 18 / 81
    assert rows.loc[("old", "0012"), "dice"] == 1
    assert rows.loc[("new", "0012"), ["site", "scanner", "subject"]].tolist() == ["Oslo", "Trio", "anna"]
    assert rows.loc[("old", "2"), "site"] is None or pd.isna(rows.loc[("old", "2"), "site"])
    assert rows["error"].map(bool).tolist() == [True, False, True, False], "also where the other method has the case"


BAD_TABLES = {
    "no column": "case,prediction\n1,p.nii\n",
    "column twice": "case,prediction,prediction,reference\n1,p.nii,p.nii,t.nii\n",
    "no reference": "case,prediction,reference\n1,p.nii,\n",
    "no line": "case,prediction,reference\n",
    "case twice": "case,prediction,reference\n1,p.nii,t.nii\n1,q.nii,t.nii\n",
    "two references": "case,prediction,reference,method\n1,p.nii,t.nii,a\n1,p.nii,u.nii,b\n",
    "two sites": "case,prediction,reference,method,site\n1,p.nii,t.nii,a,x\n1,p.nii,t.nii,b,y\n",
    "empty file": "",
}


@pytest.mark.parametrize("content", BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_tables_of_pairs(tmp_path, content):
    path = tmp_path / "pairs.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"pairs\.csv"):
        entries_of_table(path)


def test_no_table_and_contradicting_options(tmp_path, monkeypatch, capsys):
    touch(tmp_path, "p/a.nii.gz", "t/a.nii.gz", "x.csv")
    wrong = [
        ((), "PREDICTIONS REFERENCES"),
        ((tmp_path / "p",), "no references"),
        ((tmp_path / "p", tmp_path / "t", "--pairs", tmp_path / "x.csv"), "one of the two ways"),
        (("--pairs", tmp_path / "y.csv"), "no such file"),
        ((tmp_path / "p", tmp_path / "t", "--threshold", 0.5, "--labels", "1"), "threshold"),
        ((tmp_path / "p", tmp_path / "t", "--profile", "isles23"), "isles22"),
        ((tmp_path / "p", tmp_path / "t", "--dataset", "atlas"), "atlas_v1"),
        ((tmp_path / "p", tmp_path / "t", "--dataset", "atlas_v1", "--images", tmp_path), "--dataset"),
        ((tmp_path / "p", tmp_path / "t", "--dataset", "atlas_v1", "--reference-threshold", 0.5), "own rule"),
        ((tmp_path / "p", tmp_path / "u"), "NIfTI"),
        ((tmp_path / "p", tmp_path / "t", "--beside", "x"), "NAME"),
    ]
    for arguments, words in wrong:
        status, shown = run(monkeypatch, capsys, "score", *arguments, "--out", tmp_path / "o")
        assert (status, words in shown) == (1, True), (arguments, shown)
    assert not (tmp_path / "o").exists()


def test_participants_bring_site_and_scanner(board):
    found = matched_entries({"tool": board / "tool"}, references_in(board / "refs"))
    path = board / "participants.tsv"
    path.write_text("participant_id\tage\tsite\tscanner\nsub-r001s001\t70\tn/a\tTrio\nr002s010\t60\tBergen\tPrisma\n")
    told = with_participants(found, path)
    assert [(e.reference.site, e.reference.scanner) for e in told.entries] == [
        *(("R001", "Trio"), ("R001", None), ("Bergen", "Prisma")),
    ]
    assert "sub-r001s002" in told.notes[-1]
    for content in (
        "participant_id\tsite\nsub-zzz\tX\n",
        "participant_id\tage\nsub-r001s001\t7\n",
        "participant_id\tsite\nsub-r001s001\tX\nr001s001\tY\n",
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=r"participants\.tsv"):
            with_participants(found, path)


def test_images_are_found_by_bids_names_and_by_channel_numbers(tmp_path):
    for case in ("c_1", "c_1_2"):
        save(tmp_path / "labelsTr" / f"{case}.nii.gz", TRUE)
        save(tmp_path / "imagesTr" / f"{case}_0001.nii.gz", TRUE * 3)
        save(tmp_path / "imagesTr" / f"{case}_0000.nii.gz", TRUE * 2)
    _, references = references_in(tmp_path / "labelsTr", images=tmp_path / "imagesTr")
    assert [[path.name for path in one.images] for one in references] == [
        ["c_1_0000.nii.gz", "c_1_0001.nii.gz"],
        ["c_1_2_0000.nii.gz", "c_1_2_0001.nii.gz"],
    ]


def test_overlays_stand_on_the_image_of_their_grid_else_on_a_plain_ground(tmp_path):
    mask = save(tmp_path / "t.nii.gz", TRUE)
    coarse = save(tmp_path / "flair.nii.gz", np.full((6, 6, 5), 7.0), np.diag([4.0, 4.0, 6.0, 1.0]))
    fine = save(tmp_path / "t1.nii.gz", np.full(SHAPE, 3.0))
    broken = touch(tmp_path, "broken.nii.gz") / "broken.nii.gz"
    prediction = save(tmp_path / "p.nii.gz", NEAR)

    def ground(*images: Path) -> tuple[float, tuple[str, ...]]:
        entry = Entry("m", _reference("1", mask, images=images), prediction)
        scores = score_entries([entry], Rules(), workers=1)
        found = entries_of_table(_pairs(tmp_path))
        evaluation = evaluation_of(found.__class__((entry,), tmp_path, "d"), scores, Rules())
        (overlay,) = evaluation.runs[0].overlays
        assert overlay.reference.sum() == 54
        return float(overlay.image[6, 5, 4]), evaluation.notes

    assert ground(broken, coarse, fine)[0] == 3
    assert ground(broken, coarse)[0] == 7
    value, notes = ground()
    assert value == 0
    assert "plain ground" in notes[-1]


def _pairs(folder: Path) -> Path:
    path = folder / "pairs.csv"
    path.write_text("case,prediction,reference\n1,p.nii.gz,t.nii.gz\n")
    return path


def test_atlas_2_tree_by_names_and_as_dataset_give_the_same(tmp_path, evaluations, monkeypatch, capsys):
    root = write_cohort("atlas_v2", tmp_path / "v2", spacing=8.0, sites=2, cases_per_site=2, progress=False)
    for path in sorted(root.glob("Training/*/*/*/*/*_mask.nii.gz")):
        case = path.name.split("_space")[0]
        image = nib.load(path)
        save(tmp_path / "mine" / f"{case}.nii.gz", np.roll(np.asarray(image.dataobj), 1, axis=0), image.affine)
    tables = []
    for more in ((), ("--dataset", "atlas_v2")):
        out = tmp_path / f"o{len(more)}"
        status, shown = run(monkeypatch, capsys, "score", tmp_path / "mine", root, *more, "--out", out)
        assert status == 0, shown
        assert evaluations[-1].phantom
        tables.append(table(out))
    assert len(tables[0]) == 4
    assert sorted(set(tables[0]["site"])) == ["R001", "R002"]
    pd.testing.assert_frame_equal(tables[0].drop(columns="dataset"), tables[1].drop(columns="dataset"))


def test_isles_2022_tree(isles_cohort, tmp_path, evaluations, monkeypatch, capsys):
    predicted = tmp_path / "strokelab"
    masks = sorted(isles_cohort.rglob("*_msk.nii.gz"))
    for path in masks:
        case = path.name.removesuffix("_msk.nii.gz")
        image = nib.load(path)
        folder = predicted / case.split("_")[0] / "ses-0001" / "anat"
        save(folder / f"{case}_label-lesion_mask.nii.gz", np.asarray(image.dataobj), image.affine)
        save(folder / f"{case}_label-lesion_probseg.nii.gz", np.zeros(image.shape, np.float32), image.affine)
    status, shown = run(monkeypatch, capsys, "score", predicted, isles_cohort, "--out", tmp_path / "o")
    assert status == 0, shown
    rows = table(tmp_path / "o")
    assert len(rows) == len(masks) == 6
    assert rows["dice"].tolist() == [1.0] * 6


def test_own_predictions_of_a_dataset_with_other_names(t1_cohort, tmp_path, evaluations, monkeypatch, capsys):
    """ATLAS v1.2: several masks per scan, ids that are not BIDS; ``strokelab predict`` names them sub-031768t01."""
    from strokelab.data import read_cases
    from strokelab.inference.derivative import Derivative
    from strokelab.nifti import read_grid, read_lesion

    cases = read_cases("atlas_v1", t1_cohort)
    derivative = Derivative(tmp_path / "p", name="x", provenance={})
    for case in cases:
        grid = read_grid(case.reference_image)
        lesion = read_lesion(case.lesions, grid, case.reference_image)
        save(derivative.path_of(case.case_id, "label-lesion_mask.nii.gz"), lesion, grid.matrix)
    out = tmp_path / "o"
    status, shown = run(monkeypatch, capsys, "score", tmp_path / "p", t1_cohort, "--dataset", "atlas_v1", "--out", out)
    assert status == 0, shown
    rows = table(out)
    assert rows.index.get_level_values("case").tolist() == [case.case_id for case in cases]
    assert rows["dice"].tolist() == [1.0] * len(cases)
    assert set(rows["site"]) == {"Site1", "Site2", "Site3"}


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the public ISLES'22 sample case is not here")
def test_the_four_numbers_of_the_public_sample_case(tmp_path, evaluations, monkeypatch, capsys):
    (path,) = SAMPLE.rglob("*_dwi.nii.gz")
    dwi = nib.load(path)
    voxels = dwi.get_fdata()
    above = (voxels > np.percentile(voxels[voxels > 0], 99)).astype(np.uint8)
    save(tmp_path / "p" / "sub-strokecase0009_ses-0001_pred.nii.gz", above, dwi.affine)
    arguments = ("--profile", "isles22", "--images", SAMPLE, "--out", tmp_path / "o")
    status, shown = run(monkeypatch, capsys, "score", tmp_path / "p", SAMPLE, *arguments)
    assert status == 0, shown
    row = table(tmp_path / "o").iloc[0]
    assert (row["tp"], row["tp"] + row["fn"], row["tp"] + row["fp"]) == (203, 523, 1813)
    wanted = {
        "dice": 0.1738013698630137,
        "volume_difference": 10.32,
        "lesion_count_difference": 87,
        "lesion_f1": 0.24793388429752067,
    }
    for name, value in wanted.items():
        assert row[name] == pytest.approx(value, abs=1e-9), name
    assert (row["lesion_tp_6"], row["lesion_fn_6"], row["lesion_fp_6"]) == (16, 5, 182)
