"""The papers' tables with ours beside them: which run stands where, in whose statistic, and what is said to differ."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_material import ALL_PARTS, CONF, case_row

from strokelab.metrics.combined import combined_score
from strokelab.report.cells import Table
from strokelab.report.comparison import paper_comparisons, without_site
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.paper_tables import Number, load_tables
from strokelab.statistics.bootstrap import bootstrap_intervals

PAPERS = load_tables(CONF)
THRESHOLD = '{"_target_": "strokelab.inference.postprocess.threshold", "_partial_": true, "threshold": 0.5}'
SITES = tuple(str(k) for k in range(1, 10))


def cases(dice: dict[str, list[float]], **more: object) -> pd.DataFrame:
    """Case rows by site; case ids are made of site and position."""
    rows = [case_row(f"{s}-{i}", s, value, **more) for s, values in dice.items() for i, value in enumerate(values)]
    return pd.DataFrame(rows)


def a_run(model: str, table: pd.DataFrame, name: str = "", **more: object) -> RunMaterial:
    kind = {"sgnet": ALL_PARTS, "unet2d": frozenset()}.get(model)
    settings = {"dataset": "atlas_v1", "parts": kind, "split": "LeaveOneSiteOut"} | more
    return RunMaterial(name=name or model, model=model, cases=table.assign(run=name or model), **settings)


def evaluated(*runs: RunMaterial, **more: object) -> Evaluation:
    datasets = ", ".join(dict.fromkeys(run.dataset for run in runs))
    return Evaluation(**({"title": "t", "dataset": datasets, "runs": runs, "papers": PAPERS} | more))


def shown(evaluation: Evaluation) -> dict[str, Table]:
    return {table.name: table for table in paper_comparisons(evaluation)}


def line(table: Table, method: str, *about: str) -> dict[str, str]:
    """A row as heading -> text; ``about`` are cells that must be in it."""
    (found,) = [
        row
        for row in table.rows
        if row[0].text == method and set(about) <= {cell.text for cell in row[1 : 1 + len(about)]}
    ]
    return dict(zip(table.header, (cell.text for cell in found), strict=True))


def note(table: Table, start: str) -> str:
    return next(text for text in table.notes if text.startswith(start))


def held_out(model: str, site: str, dice: list[float], **more: object) -> RunMaterial:
    """One member of a leave-one-site-out sweep."""
    others = tuple(s for s in SITES if s != site)
    return a_run(model, cases({site: dice}), f"{model}-{site}", sites=others, held_out_site=site, **more)


def test_an_ablation_sweep_comes_out_as_table_three_prints_it():
    runs = [held_out("unet2d", s, [0.4, 0.6]) for s in "145"] + [held_out("sgnet", s, [0.6, 0.8]) for s in "15"]
    table = shown(evaluated(*runs))["paper_sgnet_table3"]
    assert table.header[:5] == ("Method", "Site", "DA", "SL", "MAIN")
    assert len(table.rows) == 18
    assert [row[0].text for row in table.rows[:6]] == ["Baseline", "DA", "SL", "DA + SL", "SL + MAIN", "DA + SL + MAIN"]
    full = line(table, "DA + SL + MAIN", "1")
    assert (full["DA"], full["SL"], full["MAIN"]) == ("✓", "✓", "✓")
    assert (full["Dice, paper"], full["Dice, ours"]) == ("0.6018 ± 0.2344", "0.7000 ± 0.1414")
    assert full["F1, ours"] == full["Dice, ours"]
    assert line(table, "Baseline", "4")["Dice, ours"] == "0.5000 ± 0.1414"
    assert line(table, "DA + SL + MAIN", "4")["Dice, ours"] == "–"
    assert line(table, "SL", "1")["SL"] == "✓"
    assert line(table, "SL", "1")["Ours is made of"] == "–"


def test_a_site_sweep_comes_out_as_table_five_over_site_means():
    dice = {s: [0.1 * int(s), 0.1 * int(s) + 0.02] for s in SITES}
    runs = [held_out("sgnet", s, dice[s], cost={"parameters_m": 29.636, "macc_g": 31.6}) for s in SITES]
    table = shown(evaluated(*runs))["paper_sgnet_table5"]
    ours = line(table, "SG-Net")
    means = [np.mean(dice[s]) for s in SITES]
    assert ours["Dice, ours"] == f"{np.mean(means):.4f} ± {np.std(means, ddof=1):.4f}"
    assert (ours["Parameters (M), ours"], ours["MACC (G), ours"]) == ("29.64", "31.60")
    assert ours["Ours is made of"] == "18 cases, 9 sites, 9 runs"
    assert "FLOPs (G)" in table.header, "columns that ours has nothing for stay, alone"
    assert not any(text.startswith("Not shown") for text in table.notes)
    rest = [np.mean(dice[s]) for s in SITES if s != "5"]
    assert note(table, "sgnet over the sites").endswith(f"Dice {np.mean(rest):.4f} ± {np.std(rest, ddof=1):.4f}.")


def test_cases_of_training_sites_do_not_count_beside_a_paper_that_has_none():
    leaky = a_run("unet2d", cases({"5": [0.4, 0.6], "1": [1.0, 1.0]}), sites=("1", "2"))
    table = shown(evaluated(leaky))["paper_sgnet_table5"]
    assert line(table, "U-Net")["Dice, ours"] == "0.5000"
    assert line(table, "U-Net")["Ours is made of"] == "2 cases, 1 site, 1 run"


def test_a_run_that_knows_every_site_stands_in_a_row_of_its_own_that_says_so():
    seen = a_run("unet2d", cases({"1": [0.4, 0.6]}), sites=SITES, split="HoldOut")
    table = shown(evaluated(seen))["paper_sgnet_table5"]
    assert line(table, "U-Net")["Ours is made of"] == "–"
    own = line(table, "ours: unet2d")
    assert own["Dice, ours"] == "0.5000"
    assert own["Ours is made of"] == "2 cases, 1 site, 1 run (sites seen in training)"
    assert "split: theirs leave one site out, nine runs, ours HoldOut" in note(table, "Differs")


def test_seeds_are_averaged_per_case_before_the_spread():
    one = held_out("unet2d", "5", [0.25, 0.5, 0.75])
    twin = dataclasses.replace(one, name="twin", cases=one.cases.assign(run="twin", dice=[0.45, 0.5, 0.55]))
    table = shown(evaluated(one, twin))["paper_sgnet_table3"]
    own = line(table, "Baseline", "5")
    assert (own["Dice, ours"], own["Ours is made of"]) == ("0.5000 ± 0.1500", "3 cases, 2 runs")
    assert "ours averages up to 2 runs of a case first" in note(table, "Differs")


def test_external_sites_are_over_models():
    def model(name: str, *dice: float) -> RunMaterial:
        return a_run("sgnet", cases({"R038": list(dice)}), name, dataset="atlas_v2")

    table = shown(evaluated(model("a", 0.2, 0.4), model("b", 0.5, 0.7)))["paper_sgnet_table6"]
    assert line(table, "SG-Net", "38")["Dice, ours"] == "0.4500 ± 0.2121"
    assert len(table.rows) == 3
    assert "the paper's site 40; the paper's site 48" in note(table, "Not shown")


def test_intervals_are_those_of_the_bootstrap_by_patient_and_micro_dice_pools():
    rng = np.random.default_rng(0)
    table = cases({"1": list(rng.uniform(0.2, 0.9, 12))}, tp=100, fp=20, fn=30, tn=1000, mdsc=0.9)
    table["subject"] = [f"p{i // 2}" for i in range(12)]
    found = shown(evaluated(a_run("unet2d", table)))
    expected = bootstrap_intervals(table, ["dice"]).iloc[0]
    own = line(found["paper_resunet3d_table2"], "ours: unet2d")
    assert own["DSC, ours"] == f"{expected['estimate']:.2f} ({expected['low']:.2f}–{expected['high']:.2f})"
    assert own["mDSC, ours"].startswith("0.90")
    assert line(found["paper_resunet3d_table2"], "3D-ResU-Net")["HD (mm), paper"] == "20.4 (10.0–33.3)"
    micro = line(found["paper_resunet3d_table5"], "ours: unet2d")["microDSC, ours"]
    assert micro == f"{200 / 250:.2f} (0.80–0.80)"
    assert line(found["paper_resunet3d_table5"], "Difference")["HD (mm), paper"] == "−14.7"


def test_a_resunet_of_ours_stands_in_its_own_row_by_its_name():
    table = shown(evaluated(a_run("resunet3d", cases({"1": [0.4, 0.6]}))))["paper_resunet3d_table2"]
    assert line(table, "3D-ResU-Net")["DSC, ours"].startswith("0.50 (")
    assert "ours: resunet3d" not in [row[0].text for row in table.rows]


def test_size_quarters_hold_a_quarter_each_smallest_first():
    table = cases({"1": [0.1 * i for i in range(8)]})
    table["lesion_ml"] = [8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0]  # sizes 1 to 4 have Dice .1 .3 .5 .7
    found = shown(evaluated(a_run("unet2d", table)))["paper_resunet3d_table4"]
    own = [row for row in found.rows if row[0].text == "ours: unet2d"]
    column = found.header.index("DSC, ours")
    assert [row[column].number for row in own] == pytest.approx([0.2, 0.6, 0.5, 0.1])
    assert [row[-1].text for row in own] == ["2 cases, 1 site, 1 run"] * 4
    assert [row[0].text for row in found.rows[:2]] == ["3D-ResU-Net", "ours: unet2d"], "each below the paper's own"


def test_folds_stand_beside_folds_and_the_whole_beside_the_whole():
    table = pd.concat([cases({"1": [0.4, 0.6]}, fold="0"), cases({"2": [0.8, 1.0]}, fold="1")])
    runs = [
        a_run(
            "nnunet", rows.assign(postprocessing=THRESHOLD), f"n{fold}", dataset="atlas_v2", split="SizeBalancedKFold"
        )
        for fold, rows in table.groupby("fold")
    ]
    found = shown(evaluated(*runs))["paper_mapping_folds"]
    assert line(found, "Default", "0")["Dice, ours"] == "0.5000 ± 0.1414"
    assert line(found, "Default", "all")["Dice, ours"] == "0.7000 ± 0.2582"
    assert "the paper's fold 2" in note(found, "Not shown")
    assert len(found.rows) == 18


def test_post_processing_decides_which_row_it_is():
    def ensemble(node: str) -> RunMaterial:
        return a_run("mapping_ensemble", cases({"1": [0.4, 0.6]}).assign(postprocessing=node), dataset="atlas_v2")

    plain = shown(evaluated(ensemble(THRESHOLD)))["paper_mapping_table1"]
    merged = shown(evaluated(ensemble('{"_target_": "strokelab.inference.postprocess.mapping"}')))[
        "paper_mapping_table1"
    ]
    assert [line(plain, name)["Dice, ours"] for name in ("Ensemble", "Ensemble + PP")] == ["0.500 ± 0.141", "–"]
    assert [line(merged, name)["Dice, ours"] for name in ("Ensemble", "Ensemble + PP")] == ["–", "0.500 ± 0.141"]
    other = shown(evaluated(ensemble("small_components")))["paper_mapping_table1"]
    assert line(other, "ours: mapping_ensemble")["Dice, ours"] == "0.500 ± 0.141"


def test_metrics_come_in_the_tables_terms_and_it_is_said():
    counts = {"tp": 10, "fp": 5, "fn": 2, "tn": 83, "voxel_volume_mm3": 8.0, "volume_difference": 0.024}
    lesions = {"truth_lesions_6": 4, "prediction_lesions_6": 2, "lesion_tp_6": 3, "lesion_fn_6": 1, "lesion_fp_6": 1}
    run = a_run("unet2d", cases({"1": [0.5, 0.5]}, **counts, **lesions, profile="default"), dataset="atlas_v2")
    found = shown(evaluated(run))
    mapping = line(found["paper_mapping_table1"], "ours: unet2d")
    assert (mapping["VD (voxels), ours"], mapping["L-F1, ours"]) == ("3 ± 0", "0.750 ± 0.000")
    assert mapping["SLC, ours"] == "2.000 ± 0.000"
    said = note(found["paper_mapping_table1"], "Differs")
    assert "L-F1: with 6 neighbours, from the component counts (scored with 26)" in said
    assert "voxel volume: theirs 1 mm³, ours 8 mm³" in said
    synthetic = found["paper_synthstroke_table1"]
    assert line(synthetic, "ours: unet2d")["AVD (mm3), ours"] == "24"
    assert "grid of the scores: theirs 1 mm, padded to 256 x 256 x 256" in note(synthetic, "Differs")
    hidden = note(found["paper_mapping_table2"], "Differs")
    assert "cases: theirs 300 of a test set without public labels, ours 2 others" in hidden


def test_a_metric_that_cannot_be_brought_over_is_named():
    said = note(shown(evaluated(a_run("unet2d", cases({"1": [0.4, 0.6]}))))["paper_resunet3d_table2"], "Differs")
    assert "ASSD (mm): ours is between surface voxels" in said
    assert "evaluate with profile=tomita" in said
    assert "mDSC: Maximal Dice is not in our case table" in said


def test_sunet_has_population_sd_voxel_distances_and_a_score_from_the_means():
    table = cases({"1": [0.6, 0.8]}, hd_voxels=20.0, profile="sunet")
    run = a_run("sunet", table, dataset="isles2015_siss", split="KFold")
    found = shown(evaluated(run))["paper_sunet_table1"]
    own = line(found, "Proposed")
    assert own["DSC, ours"] == "0.70 ± 0.10", "0.14 with n - 1"
    assert own["HD (voxels), ours"] == "20.0 ± 0.0"
    assert own["Score, from the means, ours"] == f"{combined_score(0.7, 20):.4f}"
    assert (own["Th"], own["Smin (voxels)"]) == ("0.5", "200")
    assert len(found.rows) == 3, "only the task that was evaluated"


def test_single_modalities_stand_in_their_groups_and_others_behind_them():
    table = pd.concat([cases({"1": [0.2, 0.4]}, modality="T1"), cases({"1": [0.6, 0.8]}, modality="FLAIR")])
    single = a_run("synthstroke", table, dataset="isles2015_siss", parts=None)
    whole = a_run("sunet", cases({"1": [0.5, 0.7]}), dataset="isles2015_siss", parts=None)
    found = shown(evaluated(single, whole))["paper_synthstroke_table3"]
    assert line(found, "Synth", "T1")["Dice, ours"] == "0.300"
    assert line(found, "Synth", "FLAIR")["Dice, ours"] == "0.700"
    assert line(found, "ours: sunet", "as trained")["Dice, ours"] == "0.600"
    assert "the paper's input DWI" in note(found, "Not shown")


def test_infinite_distances_and_failed_cases_are_counted_beside_the_mean():
    table = cases({"1": [0.4, 0.6, 0.8]})
    table["hd95"] = [10.0, np.inf, 20.0]
    table.loc[2, ["dice", "hd95", "error"]] = [np.nan, np.nan, "truncated"]
    found = shown(evaluated(a_run("nnunet", table.assign(postprocessing=THRESHOLD), dataset="atlas_v2")))
    own = line(found["paper_mapping_table1"], "Default")
    assert own["95HD, ours"] == "10.000 (1 inf)"
    assert own["Dice, ours"] == "0.500 ± 0.141"
    assert own["Ours is made of"] == "3 cases, 1 site, 1 run (1 failed)"


def test_phantoms_are_named_in_every_caption_and_first_among_the_differences():
    tables = shown(evaluated(a_run("unet2d", cases({"1": [0.4, 0.6]})), phantom=True))
    named = [table for name, table in tables.items() if name]
    assert len(named) > 3
    for table in named:
        assert table.caption.endswith("(ours: phantoms, not comparable)")
        assert note(table, "Differs").startswith("Differs: data: theirs ATLAS")
    real = shown(evaluated(a_run("unet2d", cases({"1": [0.4, 0.6]}))))
    assert not any("phantom" in table.caption for table in real.values())


def test_tables_of_other_datasets_stay_away_and_mixed_evaluations_show_both():
    one, other = (a_run("unet2d", cases({"1": [0.4, 0.6]}), name, dataset=name) for name in ("atlas_v1", "isles2022"))
    only = {name for name in shown(evaluated(other)) if name}
    assert only == {"paper_synthstroke_table4"}
    both = shown(evaluated(one, other))
    assert {"paper_synthstroke_table4", "paper_sgnet_table5", "paper_resunet3d_table2"} <= set(both)
    assert line(both["paper_resunet3d_table2"], "ours: unet2d")["Ours is made of"] == "2 cases, 1 site, 1 run"
    assert shown(evaluated(dataclasses.replace(one, dataset="folder"))) == {}


def test_tables_with_a_run_of_their_kind_come_first():
    names = list(shown(evaluated(held_out("unet2d", "5", [0.4, 0.6]))))
    assert names[:2] == ["paper_sgnet_table3", "paper_sgnet_table5"]


def test_what_is_not_shown_is_named_with_its_reason():
    last = paper_comparisons(evaluated(a_run("unet2d", cases({"2": [0.4, 0.6]}))))[-1]
    reasons = {row[0].text.partition(":")[0]: row[1].text for row in last.rows}
    assert reasons["SG-Net Table VII"] == "no run with site balanced"
    assert reasons["SG-Net Table III"] == "nothing of ours is of site 1, 4, 5"
    assert reasons["SG-Net Table IV"] == "nothing of ours to put into its columns"


def test_balanced_sampling_calls_for_table_seven():
    balanced = held_out("sgnet", "5", [0.4, 0.6])
    balanced = dataclasses.replace(balanced, parts=ALL_PARTS | {"site_balanced"})
    table = shown(evaluated(balanced))["paper_sgnet_table7"]
    assert line(table, "SG-Net, balanced sampling")["Dice, ours"] == "0.5000"
    assert line(table, "SG-Net, plain sampling")["Dice, ours"] == "–"


def test_an_own_row_ticks_the_parts_its_runs_have():
    odd = a_run("mine", cases({"5": [0.4, 0.6]}), parts=frozenset({"hemispheres", "standardizer"}))
    own = line(shown(evaluated(odd))["paper_sgnet_table3"], "ours: mine", "5")
    assert (own["DA"], own["SL"], own["MAIN"]) == ("✓", "", "✓")


def test_costs_alone_are_enough_for_a_table_of_costs():
    run = a_run("sgnet", cases({"5": [0.4, 0.6]}), cost={"training_macc_g": 33.588})
    table = shown(evaluated(run))["paper_sgnet_table4"]
    assert line(table, "SG-Net with DA")["MACC (G), ours"] == "33.59"
    assert "Memory (MB)" in table.header
    assert not any(text.startswith("Differs") for text in table.notes)


def test_a_misprinted_cost_makes_no_other_network():
    full = {"parameters_m": 29.636, "memory_mb": 130.79, "macc_g": 31.6, "flops_g": 31.63}  # the paper prints 33.63
    table = shown(evaluated(held_out("sgnet", "5", [0.4, 0.6], cost=full)))["paper_sgnet_table5"]
    assert line(table, "SG-Net")["FLOPs (G), ours"] == "31.63"
    assert "costs:" not in note(table, "Differs")


def test_costs_of_a_narrower_network_are_said_to_be_of_another_network():
    run = a_run("sgnet", cases({"5": [0.4, 0.6]}), cost={"training_macc_g": 0.06, "macc_g": 0.05})
    found = shown(evaluated(run))
    for name in ("paper_sgnet_table4", "paper_sgnet_table5"):
        assert "costs: ours are of our runs' own widths and sample sizes (SG-Net" in note(found[name], "Differs")


def test_cells_carry_the_numbers_for_the_files():
    table = shown(evaluated(held_out("unet2d", "5", [0.4, 0.6])))["paper_sgnet_table3"]
    (row,) = [row for row in table.rows if (row[0].text, row[1].text) == ("Baseline", "5")]
    paper, own = row[table.header.index("Dice, paper")], row[table.header.index("Dice, ours")]
    assert (paper.number, paper.further) == (0.4396, (("sd", 0.2263),))
    assert own.number == pytest.approx(0.5)
    assert own.ours
    assert not paper.ours
    infinite = shown(
        evaluated(a_run("synthstroke", cases({"1": [0.4]}, modality="ensemble"), dataset="isles2015_siss"))
    )
    assert line(infinite["paper_synthstroke_table3"], "Baseline", "ensemble")["HD95 (mm), paper"] == "∞"


def test_all_cases_failed_is_no_crash():
    table = pd.DataFrame([{"case": "a", "subject": "a", "site": "5", "error": "no mask"}])
    tables = paper_comparisons(evaluated(a_run("unet2d", table)))
    assert [table.caption for table in tables] == ["Published tables that are not shown"]


def test_mean_without_the_site_the_settings_were_chosen_on():
    assert without_site([cases({"5": [0.4]})], "5") is None
    assert without_site([cases({"4": [0.4]})], "5") is None
    both = without_site([cases({"5": [0.4]}), cases({"4": [0.1], "3": [0.3]})], "5")
    assert both == Number(pytest.approx(0.2), sd=pytest.approx(np.std([0.1, 0.3], ddof=1)))
