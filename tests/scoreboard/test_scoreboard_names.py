"""What file names tell, and which files belong together: names only, no file is opened."""

from pathlib import Path

import pytest
from mask_files import touch

from strokelab.errors import ConfigError, DataError
from strokelab.scoreboard.entries import methods_of
from strokelab.scoreboard.finding import find_masks
from strokelab.scoreboard.matching import match
from strokelab.scoreboard.names import case_ids, read_name, read_names

NAMES = [
    ("sub-r001s001_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask", "sub-r001s001_ses-1", "mask"),
    ("sub-strokecase0001_ses-0001_msk", "sub-strokecase0001_ses-0001", "mask"),
    ("sub-strokecase0001_ses-0001_lesion-msk", "sub-strokecase0001_ses-0001", "mask"),
    ("sub-01_desc-lesion_dseg", "sub-01", "mask"),
    ("sub-01_label-lesion_probseg", "sub-01", "probability"),
    ("sub-01_run-2_T1w", "sub-01_run-2", "image"),
    ("sub-01_ses-2_FLAIR", "sub-01_ses-2", "image"),
    ("sub-01_desc-brain_mask", "sub-01", "other"),
    ("pred_sub-01_ses-1", "sub-01_ses-1", "mask"),
    ("sub-01_label-lesion_space-T1w", "sub-01", "mask"),
    ("case_001", "case_001", "mask"),
    ("case_001_pred", "case_001", "mask"),
    ("case_001.seg", "case_001", "mask"),
    ("mask-case_001", "case_001", "mask"),
    ("case_001_lesion_mask", "case_001", "mask"),
    ("case_001_T1w_pred", "case_001", "mask"),
    ("case_001_prob", "case_001", "probability"),
    ("case_001_dwi", "case_001", "image"),
    ("visit_t1", "visit_t1", "image"),
    ("predator_7", "predator_7", "mask"),
]


@pytest.mark.parametrize(("words", "key", "kind"), NAMES, ids=[words for words, _, _ in NAMES])
def test_a_name_tells_whose_mask_it_is(words, key, kind):
    name = read_name(Path(f"{words}.nii.gz"))
    shown = name.key.replace("_space-MNI152NLin2009aSym", "").replace("_space-T1w", "")
    assert (shown, name.kind) == (key, kind)


def test_folders_tell_where_the_name_does_not():
    root = Path("r")
    assert read_name(root / "sub-01" / "ses-2" / "anat" / "lesion.nii.gz", root).key == "sub-01_ses-2"
    alike = [root / "site1" / f"case{i}" / "out" / "pred.nii.gz" for i in (1, 2)]
    assert [name.key for name in read_names(alike, root)] == ["case1", "case2"]
    same_stem = [root / case / "lesion_t1_v3.nii.gz" for case in ("a", "b")]
    assert [name.key for name in read_names(same_stem, root)] == ["a", "b"]
    assert read_names([root / "a" / "mask.nii.gz"], root)[0].key == "a"


def test_case_ids_are_as_short_as_tells_them_apart():
    words = ["sub-1_ses-1_space-T1w_mask", "sub-2_run-1_space-T1w_mask", "sub-2_run-2_space-T1w_mask", "sub-3_mask"]
    ids = case_ids([read_name(Path(f"{w}.nii.gz")) for w in words])
    assert ids == ["sub-1_ses-1", "sub-2_run-1", "sub-2_run-2", "sub-3"]
    files = [Path("r/site1/001.nii.gz"), Path("r/site2/001.nii.gz"), Path("r/site2/002.nii.gz")]
    assert case_ids(read_names(files, Path("r"))) == ["site1_001", "site2_001", "002"]


def _matched(tmp_path, predictions: list[str], references: list[str], graded: bool = False) -> list[str | None]:
    ours = find_masks(touch(tmp_path / "r", *references))
    theirs = find_masks(touch(tmp_path / "p", *predictions), graded=graded)
    partners = match(ours, theirs).partners
    assert len(partners) == len(ours.files)
    return [None if one is None else one.path.relative_to(tmp_path / "p").as_posix() for one in partners]


SUITED = [
    ("nnU-Net", ["c_01.nii.gz", "c_02.nii.gz"], ["c_01.nii.gz", "c_02.nii.gz"]),
    ("words", ["c_01_pred.nii.gz", "pred_c_02.nii"], ["c_01_gt.nii.gz", "c_02_seg.nii.gz"]),
    ("case folders", ["c1/pred.nii.gz", "c2/pred.nii.gz"], ["c1.nii.gz", "c2.nii.gz"]),
    ("letters' case", ["Case-1.nii.gz", "CASE-2.nii.gz"], ["case-1_mask.nii.gz", "case-2_mask.nii.gz"]),
    ("session only there", ["sub-1.nii.gz", "sub-2.nii.gz"], ["sub-1_ses-1_mask.nii.gz", "sub-2_ses-1_mask.nii.gz"]),
    (
        "runs",
        ["sub-1_run-1_pred.nii.gz", "sub-1_run-2_pred.nii.gz"],
        ["sub-1_ses-1_run-1_mask.nii.gz", "sub-1_ses-1_run-2_mask.nii.gz"],
    ),
    ("one id at two sites", ["s1/001.nii.gz", "s2/001.nii.gz"], ["s1/001_gt.nii.gz", "s2/001_gt.nii.gz"]),
    (
        "two lesions of one scan, named alike",
        ["sub-1_desc-new_mask.nii.gz", "sub-1_desc-old_mask.nii.gz"],
        ["sub-1_desc-new_mask.nii.gz", "sub-1_desc-old_mask.nii.gz"],
    ),
]


@pytest.mark.parametrize(("predictions", "references"), [s[1:] for s in SUITED], ids=[s[0] for s in SUITED])
def test_names_that_suit_each_other(tmp_path, predictions, references):
    assert _matched(tmp_path, predictions, references) == predictions


def test_images_twins_and_maps_are_left_aside_and_told(tmp_path):
    root = touch(
        tmp_path / "r",
        "sub-1/sub-1_T1w.nii.gz",
        "sub-1/sub-1_label-L_mask.nii.gz",
        "sub-1/._sub-1_label-L_mask.nii.gz",
        "sub-1/sub-1_desc-brain_mask.nii.gz",
        "sub-1/sub-1_label-L_probseg.nii.gz",
        "MNI152_template.nii.gz",
        "notes.txt",
    )
    found = find_masks(root)
    assert [one.path.name for one in found.files] == ["sub-1_label-L_mask.nii.gz"]
    assert {path.name for path in found.left_aside} == {
        *("sub-1_T1w.nii.gz", "sub-1_desc-brain_mask.nii.gz", "sub-1_label-L_probseg.nii.gz"),
        "MNI152_template.nii.gz",
    }
    assert "4 files" in found.aside("references")[0]
    maps = find_masks(root, graded=True)
    assert [one.path.name for one in maps.files] == ["sub-1_label-L_probseg.nii.gz"]


def test_predictions_may_be_called_like_their_images(tmp_path):
    assert _matched(tmp_path, ["sub-1_T1w.nii.gz"], ["sub-1_mask.nii.gz"]) == ["sub-1_T1w.nii.gz"]


def test_a_pattern_narrows(tmp_path):
    touch(tmp_path, "a/1_fine.nii.gz", "a/1_coarse.nii.gz", "b/2_fine.nii.gz", "b/._2_fine.nii.gz")
    found = find_masks(f"{tmp_path}/**/*_fine.nii.gz")
    assert [one.path.name for one in found.files] == ["1_fine.nii.gz", "2_fine.nii.gz"]


def test_missing_ones_are_none_and_others_visits_do_not_step_in(tmp_path):
    references = ["sub-1_ses-1_mask.nii.gz", "sub-1_ses-2_mask.nii.gz", "sub-2_ses-1_mask.nii.gz"]
    predictions = ["sub-1_ses-2_pred.nii.gz", "sub-2_ses-3_pred.nii.gz"]
    assert _matched(tmp_path, predictions, references) == [None, "sub-1_ses-2_pred.nii.gz", None]
    found = match(find_masks(tmp_path / "r"), find_masks(tmp_path / "p"))
    assert [one.path.name for one in found.extra] == ["sub-2_ses-3_pred.nii.gz"]


UNDECIDED = [
    (["sub-1_desc-a_mask.nii.gz", "sub-1_desc-b_mask.nii.gz"], ["sub-1_label-L_mask.nii.gz"], "sub-1_desc-b_mask"),
    (["sub-1_pred.nii.gz"], ["sub-1_ses-1_mask.nii.gz", "sub-1_ses-2_mask.nii.gz"], "several references"),
    (["sub-1_ses-1_pred.nii.gz", "sub-1_ses-2_pred.nii.gz"], ["sub-1_mask.nii.gz"], "several predictions"),
    (["c1.nii", "c1.nii.gz"], ["c1_gt.nii.gz"], "several predictions"),
]


@pytest.mark.parametrize(("predictions", "references", "words"), UNDECIDED)
def test_what_is_undecided_is_an_error_that_lists_it(tmp_path, predictions, references, words):
    with pytest.raises(DataError, match=words) as error:
        _matched(tmp_path, predictions, references)
    assert all(name in str(error.value) for name in predictions)
    assert "--pairs" in error.value.remedy


def test_nothing_that_matches_shows_both_sides_keys(tmp_path):
    with pytest.raises(DataError) as error:
        _matched(tmp_path, ["case1.nii.gz", "case2.nii.gz"], ["sub-1_mask.nii.gz", "sub-2_mask.nii.gz"])
    assert "case1" in error.value.found
    assert "sub-1" in error.value.expected
    assert "--pairs" in error.value.remedy


@pytest.mark.parametrize("place", ["nowhere", "notes.txt", "empty", "*.nii.gz"])
def test_places_without_masks(tmp_path, place):
    touch(tmp_path, "notes.txt", "empty/readme.md")
    with pytest.raises(DataError, match="NIfTI"):
        find_masks(tmp_path / place)


def test_methods_have_names(tmp_path):
    touch(tmp_path, "nnunet/a.nii.gz", "x.nii.gz")
    assert methods_of(tmp_path / "nnunet", None, ["b=c=d"]) == {"nnunet": tmp_path / "nnunet", "b": "c=d"}
    assert list(methods_of(tmp_path / "x.nii.gz", None, [])) == ["x"]
    for wrong in (["nnunet=elsewhere"], ["elsewhere"], ["=x"], ["x="]):
        with pytest.raises(ConfigError, match=r"(?i)name"):
            methods_of(tmp_path / "nnunet", None, wrong)


def test_endings_in_any_case_and_formats_that_are_not_read(tmp_path):
    root = touch(tmp_path, "sub-1_msk.NII.GZ", "sub-2_msk.nii", "sub-3_msk.mgz", "sub-4_msk.nrrd", "notes.txt")
    found = find_masks(root)
    assert [one.name.subject for one in found.files] == ["sub-1", "sub-2", "sub-3"]
    (said,) = found.aside("mine")
    assert "sub-4_msk.nrrd" in said
    with pytest.raises(DataError) as error:
        find_masks(touch(tmp_path / "other", "a.nrrd").parent / "other")
    assert "a.nrrd" in error.value.found
    assert "SimpleITK" in error.value.remedy
