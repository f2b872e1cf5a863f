"""Remedies of a search for threshold and smallest component: followed, there is a pair, or cases to find one on."""

from types import SimpleNamespace

import numpy as np
from doing import executes, options, said, settings, told

from strokelab.configuration import build
from strokelab.contract import HELD_OUT_SELECTS
from strokelab.data import read_cases
from strokelab.evaluation.new_scans import _postprocess
from strokelab.inference.postprocess import check_settled, search_of, tuned
from strokelab.training.tuning import check_tunable

PROBABILITY = np.full((6, 6, 6), 0.6)


@executes("strokelab/inference/postprocess.py:no_pair")
def test_a_pair_that_is_not_known():
    remedy = said(tuned, PROBABILITY).remedy
    words = told(remedy)
    assert words[-1] == "postprocess=tuned"
    pair = words[:-1]
    node = settings("postprocess=tuned", *pair)["postprocess"]
    assert search_of(node) is None
    check_settled(build(node))
    assert build(node)(PROBABILITY).all()
    (option,) = options(remedy)
    assert option == "--postprocess"
    assert _postprocess(["tuned", *(word.removeprefix("postprocess.") for word in pair)])["min_voxels"] == 200
    assert said(search_of, settings("postprocess=tuned", pair[0])["postprocess"]).remedy == remedy


@executes("strokelab/training/tuning.py:check_tunable")
def test_nothing_to_find_a_pair_on(t1_cohort):
    cases = read_cases("atlas_v1", t1_cohort)

    def check(*words: str):
        found = settings("data=atlas_v1", f"data.root={t1_cohort}", "postprocess=tuned", "split=kfold", *words)
        split = build(found["split"])(cases, None)
        selecting = found["data"].get("curves") == HELD_OUT_SELECTS
        curves = [SimpleNamespace(case_id=case_id) for case_id in split.val or (split.test if selecting else ())]
        check_tunable(found, SimpleNamespace(cases=cases, volumes=lambda part: curves, validates=bool(curves)))

    fraction, selecting, *pair = told(said(check, "split.val_fraction=0").remedy)
    check(fraction)
    check("split.val_fraction=0", selecting)
    check("split.val_fraction=0", *pair)
