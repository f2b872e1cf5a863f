"""BIDS names of case ids: the entities of BIDS names, legal names for all others, none twice."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strokelab.inference.bids_names import ENTITIES, bids_entities, bids_path

MASK, DISAGREEMENT = "label-lesion_mask.nii.gz", "label-lesion_desc-disagreement_probseg.nii.gz"
PROBABILITY, QC = "label-lesion_probseg.nii.gz", "desc-qc.png"
MARK = "x[0-9a-f]{8}"


@pytest.mark.parametrize(
    "case_id",
    [
        "sub-r001s001_ses-1",
        "sub-01_ses-1_acq-fast_ce-gad_rec-norm_dir-AP_run-2_echo-1_space-MNI_desc-preproc",
        "sub-strokecase0001_ses-0001",
    ],
)
def test_bids_names_keep_all_their_entities(case_id):
    assert "_".join(f"{key}-{value}" for key, value in bids_entities(case_id).items()) == case_id


@pytest.mark.parametrize(
    ("case_id", "sub"),
    [
        ("patient7", "patient7"),
        ("031768_t01", f"031768t01{MARK}"),
        ("M\u00fcller, A.", f"MullerA{MARK}"),
        ("\u60a3\u8005", f"case{MARK}"),
        ("ses-2", f"ses2{MARK}"),
        ("---", f"case{MARK}"),
        ("", f"case{MARK}"),
    ],
)
def test_other_names_become_a_subject(case_id, sub):
    entities = bids_entities(case_id)
    assert list(entities) == ["sub"]
    assert re.fullmatch(sub, entities["sub"])


def test_words_that_are_no_entities_are_described():
    entities = bids_entities("sub-01_ses-1_dwi")
    assert (entities["sub"], entities["ses"]) == ("01", "1")
    assert re.fullmatch(f"dwi{MARK}", entities["desc"])
    path = bids_path(entities, DISAGREEMENT, "dwi")
    assert re.fullmatch(f"sub-01/ses-1/dwi/sub-01_ses-1_label-lesion_desc-dwi{MARK}Disagreement_probseg.nii.gz", path)


word = st.text(st.sampled_from("aB1_-. \u00e9\u60a3"), max_size=6)
bids = st.lists(st.sampled_from(["ses-1", "run-1", "desc-qc", "desc-a", "space-B", "T1w", "x"]), unique=True).map(
    lambda words: "_".join(["sub-01", *words])
)


@given(st.lists(st.one_of(word, bids, st.text(max_size=300)), unique=True, min_size=2, max_size=6))
def test_names_are_legal_in_order_and_never_twice(case_ids):
    # "a" beside "sub-a", and capitals, are the folder's business: one of the two is marked there.
    seen: dict[str, str] = {}
    for case_id in case_ids:
        entities = bids_entities(case_id)
        assert list(entities) == [key for key in ENTITIES if key in entities]
        assert all(re.fullmatch(r"[A-Za-z0-9]{1,120}", value) for value in entities.values())
        for suffix in (MASK, PROBABILITY, DISAGREEMENT, QC):
            name = bids_path(entities, suffix)
            assert seen.setdefault(name, case_id) in (case_id, f"sub-{case_id}", case_id.removeprefix("sub-"))


@pytest.mark.parametrize("case_id", ["patient7", "sub-01_ses-1", "sub-01_desc-a"])
def test_a_marked_name_is_another(case_id):
    assert bids_path(bids_entities(case_id, marked=True), MASK) != bids_path(bids_entities(case_id), MASK)
