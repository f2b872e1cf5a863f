"""A printed row is met by runs of its recipe alone; others stand apart, with what differs, averaged with none."""

import dataclasses

import pytest
from test_report_comparison import a_run, cases, evaluated, held_out, line, note, shown

OTHER = ("length: max_epochs 5, not 50", "loss: loss DiceBCELoss, not DiceLoss")


def test_another_recipe_is_neither_the_row_nor_averaged_with_it():
    own = held_out("unet2d", "4", [0.2, 0.4])
    other = dataclasses.replace(
        held_out("unet2d loss=DiceBCELoss", "4", [0.8, 0.9], parts=frozenset()), unlike={"sgnet_table3": OTHER}
    )
    table = shown(evaluated(own, other))["paper_sgnet_table3"]
    assert line(table, "Baseline", "4")["Dice, ours"].startswith("0.3000")
    apart = line(table, "ours: unet2d loss=DiceBCELoss (other recipe)", "4")
    assert apart["Dice, ours"].startswith("0.8500")
    told = note(table, "Other recipe")
    assert all(phrase in told for phrase in OTHER)


@pytest.mark.parametrize("table", ["sgnet_table3", "sgnet_table5"])
def test_alone_it_stands_in_a_row_of_its_own(table):
    run = dataclasses.replace(held_out("sgnet", "4", [0.5, 0.7]), unlike={table: OTHER[:1]})
    found = shown(evaluated(run))[f"paper_{table}"]
    (own,) = [row[0].text for row in found.rows if row[0].text.startswith("ours")]
    assert own == "ours: sgnet (other recipe)"
    assert "length: max_epochs 5, not 50" in note(found, "Other recipe")


@pytest.mark.parametrize(
    ("published", "method"), [("nnunet", "Default"), ("mapping_ensemble", "Ensemble")], ids=["scheme", "ensemble"]
)
def test_schemes_and_ensembles_of_mapping_likewise(published, method):
    table = cases({"R001": [0.5, 0.7]}, postprocessing="strokelab.inference.postprocess.threshold")
    run = a_run("mine", table, dataset="atlas_v2", split="FromFile", published=published)
    met = shown(evaluated(run))["paper_mapping_table1"]
    assert line(met, method)["Dice, ours"].startswith("0.600")
    other = dataclasses.replace(run, unlike={"mapping_table1": ("members: none of nnunet_topk",)})
    apart = shown(evaluated(other))["paper_mapping_table1"]
    assert line(apart, "ours: mine (other recipe)")["Dice, ours"].startswith("0.600")
    assert line(apart, method)["Dice, ours"] == "–"
