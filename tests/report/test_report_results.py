"""The tables of what came out: headline, groups, intervals, sizes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_material import ONLY_DICE, case_row, case_table, evaluation_of, scored_run

from strokelab.metrics.thresholds import count_probabilities, to_rows
from strokelab.report.listings import run_list
from strokelab.report.material import ListedMember, RunMaterial
from strokelab.report.tables import lead, measure, page_tables

TEN = (0.61, 0.55, 0.72, 0.40, 0.83, 0.35, 0.90, 0.12, 0.66, 0.48)


def tables(evaluation):
    """Every table of the page by name; the case table is "cases"."""
    return {table.name or anchor: table for anchor, _, _, several in page_tables(evaluation) for table in several}


def column(table, heading):
    """Texts of a column by the row's first cell."""
    names = [name.replace("\u00a0", " ") for name in table.header]
    index = names.index(heading)
    return {row[0].text.replace("\u00a0", " "): row[index].text for row in table.rows}


def test_one_model_has_no_comparison():
    chapters = page_tables(evaluation_of(scored_run("m", TEN)))
    assert [anchor for anchor, *_ in chapters] == ["results", "sizes", "cases", "runs"]
    assert set(tables(evaluation_of(scored_run("m", TEN)))) == {
        *("results", "intervals", "by_size_quartile", "by_size_bin", "cases", "runs")
    }


def test_two_models_have_one():
    chapters = page_tables(evaluation_of(scored_run("a", TEN), scored_run("b", TEN)))
    assert [anchor for anchor, *_ in chapters] == ["results", "comparison", "sizes", "cases", "runs"]
    assert [table.name for table in chapters[1][3]] == ["comparisons", "ranking"]


def test_the_interval_of_the_papers_example():
    table = tables(evaluation_of(scored_run("m", TEN)))["intervals"]
    cell = table.rows[0][1]
    ends = dict(cell.further)
    assert cell.text == f"0.562 ({ends['low']:.3f}-{ends['high']:.3f})"
    assert (ends["low"], ends["high"]) == (pytest.approx(0.420, abs=0.02), pytest.approx(0.696, abs=0.02))
    assert table.notes[0] == (
        "95 % bootstrap intervals: 1000 resamples, seed 0; all rows of one subject are sampled together "
        "(10 rows of 10 subjects)."
    )


def test_scans_of_one_subject_are_one_cluster_and_unknown_subjects_stand_alone():
    apart = measure(evaluation_of(scored_run("m", TEN))).summary.iloc[0]
    pairs = [f"s{i // 2}" for i in range(8)]
    together = evaluation_of(scored_run("m", TEN, subject=[*pairs, None, None]))
    assert measure(together).summary.iloc[0]["clusters"] == 6
    assert apart["clusters"] == 10
    note = tables(together)["intervals"].notes[0]
    assert note.endswith("(10 rows of 4 subjects); 2 cases of unknown subject by themselves.")


def test_infinite_distances_are_counted_and_the_median_counts_them():
    run = scored_run("m", TEN[:4], hd95=[10.0, 20.0, np.inf, 60.0])
    found = tables(evaluation_of(run))
    assert column(found["results"], "HD95 (mm) ↓") == {"m": "30.0 ± 26.5 (1 inf)"}
    (note,) = [note for note in found["results"].notes if "infinite" in note]
    assert "(1 row here)" in note
    cells = {name: text.split(" (")[0] for name, text in column(found["intervals"], "m").items()}
    assert (cells["HD95 (mm) ↓"], cells["HD95 (mm), median ↓"]) == ("30.0", "40.0")
    assert "inf" not in column(found["intervals"], "m")["HD95 (mm), median ↓"]


def test_only_infinite_distances():
    run = scored_run("m", [0.0, 0.0], hd95=np.inf)
    assert column(tables(evaluation_of(run))["results"], "HD95 (mm) ↓") == {"m": "∞ (2 inf)"}
    assert column(tables(evaluation_of(run))["intervals"], "m")["HD95 (mm), median ↓"].startswith("∞")


def test_micro_dice_pools_voxels():
    # The example of the metrics' definition: case Dice 0.3333 and 0.8333, pooled 0.8095.
    counts = {"tp": [10, 500], "fp": [10, 100], "fn": [30, 100], "tn": 1000}
    evaluation = evaluation_of(scored_run("m", [1 / 3, 5 / 6], **counts))
    assert column(tables(evaluation)["intervals"], "m")["Micro-Dice ↑"].startswith("0.810 (")
    without = evaluation_of(scored_run("m", [1 / 3, 5 / 6]))
    assert "Micro-Dice ↑" not in column(tables(without)["intervals"], "m")


def probabilities(*maps):
    """Histograms of maps over a reference of the first two voxels."""
    reference = np.array([1, 1, 0, 0]).reshape(4, 1, 1)
    frames = [
        to_rows(count_probabilities(np.reshape(values, (4, 1, 1)), reference)).assign(run="m", case=f"c{i:02}")
        for i, values in enumerate(maps)
    ]
    return pd.concat(frames)


def test_one_threshold_for_all_cases_is_named():
    # Alone, either case is perfect: at 0.25 .. 0.3, and at 0.65 .. 0.7. Together one of them loses.
    maps = [0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.6, 0.1]
    run = scored_run("m", [0.0, 0.8], mdsc=[1.0, 1.0], mdsc_threshold=[0.3, 0.7])
    run = dataclasses.replace(run, probabilities=probabilities(*maps))
    shown = column(tables(evaluation_of(run))["intervals"], "m")
    assert shown["Maximal Dice ↑"] == "1.000 (1.000-1.000)"
    assert shown["Maximal Dice, one threshold ↑"].startswith("0.900 (")
    assert shown["Maximal Dice, one threshold ↑"].endswith(" at 0.30")
    line = measure(evaluation_of(run)).summary.query("metric == 'mdsc_common'").iloc[0]
    assert line[["n", "mean", "threshold", "clusters"]].tolist() == [2, pytest.approx(0.9), 0.3, 2]


def test_groups_are_shown_where_there_are_several():
    names = {"scanner": ["GE", "GE", "", None, "Siemens"], "fold": ["0", "1", "0", "1", "0"]}
    found = tables(evaluation_of(scored_run("m", TEN[:5], **names)))
    assert column(found["by_scanner"], "Cases") == {"GE": "2", "Siemens": "1", "unknown": "2"}
    assert column(found["by_scanner"], "Dice ↑")["GE"] == "0.580 ± 0.042"
    assert column(found["by_fold"], "Dice ↑")["1"] == "0.475 ± 0.106"
    assert column(found["results"], "Dice, over folds ↑") == {"m": "0.598 ± 0.173"}
    assert "by_site" not in found
    assert "by_run" not in found
    assert found["cases"].header[1:4] == ("Site", "Scanner", "Fold")


def test_folds_that_are_sites_are_not_shown_twice():
    sites = ["1", "1", "2", "3"]
    found = tables(evaluation_of(scored_run("m", TEN[:4], site=sites, fold=[0, 0, 1, 2])))
    assert "by_site" in found
    assert "by_fold" not in found


def test_several_seeds_count_once_each_and_are_listed():
    seeds = [scored_run("m", [value + shift for value in TEN], name=f"m {shift}", seed=shift) for shift in (0, 1)]
    evaluation = evaluation_of(*seeds)
    found = tables(evaluation)
    assert column(found["results"], "Runs") == {"m": "2"}
    assert column(found["results"], "Cases") == {"m": "10"}
    assert "A case that several runs of a model (seeds) evaluated counts once for every run." in found["results"].notes
    assert column(found["by_run"], "Dice ↑") == {"m 0": "0.562 ± 0.235", "m 1": "1.562 ± 0.235"}
    assert "seeds 0, 1" in lead(evaluation)[0]


def test_runs_called_by_their_folders_have_their_settings_once_under_the_list_of_runs():
    told = dataclasses.replace(scored_run("m a", TEN), differs="max_epochs=77, gamma=2")
    folds = [dataclasses.replace(told, name=name) for name in ("m a", "m b")]
    assert run_list(evaluation_of(*folds, scored_run("n", TEN))).notes == ("m a: max_epochs=77, gamma=2",)


def test_sites_without_a_name_are_unknown_and_no_site_to_average_over():
    found = tables(evaluation_of(scored_run("m", [0.2, 0.4, 0.6, 0.9], site=["2", "10", None, ""])))
    assert list(column(found["by_site"], "Dice ↑")) == ["2", "10", "unknown"]
    assert column(found["by_site"], "Cases")["unknown"] == "2"
    assert column(found["results"], "Dice, over sites ↑") == {"m": "0.300 ± 0.141"}


def test_failed_rows_are_counted_beside_the_cases():
    rows = [case_row("a", "1", 0.5), case_row("b", "1", np.nan, error="no mask")]
    run = RunMaterial("r", "m", "d", case_table(*rows))
    found = tables(evaluation_of(run))
    assert column(found["results"], "Cases") == {"m": "2 (1 failed)"}
    assert "1 row could not be scored; no mean, interval or test contains them." in found["results"].notes
    twice = evaluation_of(run, dataclasses.replace(run, name="s"))
    assert column(tables(twice)["results"], "Cases") == {"m": "2 (2 of 4 rows failed)"}


def test_everything_failed():
    cases = pd.DataFrame({"run": "r", "case": ["a", "b"], "subject": "s", "site": "1", "error": "no mask"})
    for evaluation in (
        evaluation_of(RunMaterial("r", "m", "d", cases)),
        evaluation_of(RunMaterial("r", "m", "d", cases), RunMaterial("q", "n", "d", cases)),
    ):
        found = tables(evaluation)
        assert column(found["results"], "Dice ↑")["m"] == "–"
        assert "by_size_bin" not in found
        assert "comparisons" not in found
        assert len(found["cases"].rows) == 2 * len(evaluation.runs)
        assert any("could not be scored" in sentence for sentence in lead(evaluation))


def test_one_model_of_two_failed():
    failed = scored_run("bad", [np.nan] * 10, error="no mask", **ONLY_DICE)
    evaluation = evaluation_of(scored_run("good", TEN, **ONLY_DICE), failed)
    text = " ".join(lead(evaluation))
    assert "good and bad have no scored case in common and cannot be compared." in text
    assert column(tables(evaluation)["ranking"], "Place") == {"good": "1", "bad": "2"}


def test_quarters_of_lesion_size_and_a_group_for_no_lesion():
    volumes = [0.0, *[float(i) for i in range(1, 10)]]
    run = scored_run("m", TEN, lesion_ml=volumes)
    found = tables(evaluation_of(run))
    assert column(found["by_size_quartile"], "Cases") == {
        **{"no lesion": "1", "0-25 %": "3", "25-50 %": "2", "50-75 %": "2", "75-100 %": "2"}
    }
    assert column(found["by_size_quartile"], "Volume (ml)")["0-25 %"] == "1.00–3.00"
    assert column(found["by_size_quartile"], "Dice ↑")["no lesion"] == "0.610"
    assert column(found["by_size_quartile"], "Dice ↑")["75-100 %"].startswith("0.570 (0.480-0.660")
    assert column(found["by_size_bin"], "Cases") == {"no lesion": "1", "1-5 ml": "4", "5-20 ml": "5"}
    assert any("stand apart" in note for note in found["by_size_bin"].notes)


def test_size_groups_hold_every_model_side_by_side():
    found = tables(evaluation_of(scored_run("b", TEN), scored_run("a", TEN)))["by_size_quartile"]
    assert [(row[0].text, row[1].text) for row in found.rows][:4] == [
        *(("0-25 %", "b"), ("0-25 %", "a"), ("25-50 %", "b"), ("25-50 %", "a"))
    ]


def test_empty_references_are_counted_in_the_notes():
    seeds = [scored_run("m", [1.0, 0.5], name=f"m{i}", lesion_ml=[0.0, 3.0]) for i in range(2)]
    notes = tables(evaluation_of(*seeds))["results"].notes
    assert any(note.startswith("2 rows without a lesion in the reference (1 case)") for note in notes)


def test_the_case_table_is_in_natural_order_with_all_there_is():
    rows = [case_row(name, "1", 0.5, hd95=np.inf) for name in ("c10", "c2", "c1")]
    run = RunMaterial("r", "m", "d", case_table(*rows).assign(mdsc=0.75, tp=7))
    table = tables(evaluation_of(run))["cases"]
    assert [row[0].text for row in table.rows] == ["c1", "c2", "c10"]
    assert table.sortable
    shown = dict(zip(table.header, table.rows[0], strict=True))
    assert shown["Maximal Dice\u00a0↑"].text == "0.750"
    assert (shown["HD95 (mm)\u00a0↓"].text, shown["HD95 (mm)\u00a0↓"].number) == ("∞", np.inf)
    assert shown["Lesion volume (ml)"].text == "3.00"
    assert "Error" not in table.header


def test_runs_say_their_split_in_words():
    runs = [
        dataclasses.replace(scored_run("m", TEN, name=f"r{i}"), split=split, held_out_site=site)
        for i, (split, site) in enumerate(
            [
                ("LeaveOneSiteOut", "5"),
                ("SizeBalancedKFold", None),
                ("leave one site out, site 5 held out", "5"),
                ("", None),
            ]
        )
    ]
    assert list(column(tables(evaluation_of(*runs))["runs"], "Split").values()) == [
        "leave one site out, site 5 held out",
        "size-balanced k-fold",
        "leave one site out, site 5 held out",
        "–",
    ]


def test_members_of_a_sweep_stand_with_their_state():
    members = (
        ListedMember("1", "finished"),
        ListedMember("10", "missing"),
        ListedMember("2", "failed", "model=sgnet", "out of memory"),
    )
    evaluation = evaluation_of(scored_run("m", TEN), members=members)
    table = tables(evaluation)["members"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["2", "failed", "model=sgnet", "out of memory"],
        ["10", "missing", "–", "–"],
        ["1", "finished", "–", "–"],
    ]
    assert lead(evaluation)[-1] == "Of 3 members of the sweep 2 are in no number: 1 missing (10); 1 failed (2)."


def test_tables_of_phantoms_say_so_on_their_own():
    evaluation = evaluation_of(scored_run("a", TEN), scored_run("b", TEN))
    for name, table in tables(dataclasses.replace(evaluation, phantom=True)).items():
        assert any(note.startswith("Phantom data") for note in table.notes) == (name not in ("cases", "runs")), name
    assert not any("Phantom" in note for table in tables(evaluation).values() for note in table.notes)


def test_the_same_numbers_twice():
    evaluation = evaluation_of(scored_run("a", TEN), scored_run("b", TEN[::-1]))
    assert page_tables(evaluation) == page_tables(evaluation)
    assert lead(evaluation) == lead(evaluation, measure(evaluation))


def test_hundreds_of_cases_and_many_sites_and_folds():
    rng = np.random.default_rng(0)
    columns = {"site": [f"R{i % 33:03}" for i in range(655)], "fold": [str(i % 5) for i in range(655)]}
    runs = [scored_run(model, rng.random(655), lesion_ml=rng.random(655) * 60, **columns) for model in "ab"]
    found = tables(evaluation_of(*runs))
    assert len(found["by_site"].rows) == 66
    assert len(found["cases"].rows) == 1310
