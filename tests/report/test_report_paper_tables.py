"""The papers' tables as data: as printed, and agreeing with each other where one follows from another."""

import math
import statistics
from pathlib import Path

import pytest

from strokelab.errors import ConfigError
from strokelab.metrics.combined import combined_score
from strokelab.metrics.profiles import METRICS
from strokelab.report.paper_tables import GROUPS, Number, load_table, load_tables, site_number

CONF = Path(__file__).parents[2] / "conf"
TABLES = {table.name: table for table in load_tables(CONF)}
ROWS = {
    "mapping_folds": 36,
    "mapping_table1": 6,
    "mapping_table2": 6,
    "mapping_table3": 7,
    "resunet3d_table2": 3,
    "resunet3d_table3": 5,
    "resunet3d_table4": 4,
    "resunet3d_table5": 3,
    "sgnet_table3": 18,
    "sgnet_table4": 2,
    "sgnet_table5": 9,
    "sgnet_table6": 9,
    "sgnet_table7": 2,
    "sunet_table1": 6,
    "sunet_table2": 5,
    "sunet_table3": 5,
    "synthstroke_table1": 2,
    "synthstroke_table2": 2,
    "synthstroke_table3": 10,
    "synthstroke_table4": 6,
}
DATASETS = {"atlas_v1", "atlas_v2", "isles2015_siss", "isles2015_spes", "isles2022"}


def row(table: str, method: str, **where: str):
    (found,) = [row for row in TABLES[table].rows if row.method == method and row.where == where]
    return found


def printed(number: Number) -> tuple[float, ...]:
    return tuple(part for part in (number.mean, number.sd, number.low, number.high) if part is not None)


def mean(table: str, method: str, column: str, **where: str) -> float:
    return row(table, method, **where).values[column].mean


def test_every_results_table_is_there_with_all_its_rows():
    assert {name: len(table.rows) for name, table in TABLES.items()} == ROWS


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_says_where_it_comes_from_and_how_it_came_about(table):
    assert any(key in table.citation for key in ("arXiv", "SynthStroke"))
    assert table.protocol.dataset
    assert table.protocol.split
    assert set(table.datasets) <= DATASETS
    assert table.datasets
    assert all(row.values for row in table.rows)
    own = {"f1", "combined_score", "threshold", "min_voxels", "challenge_score", "final_rank"}
    costs = {f"{t}{c}" for t in ("", "training_") for c in ("parameters_m", "memory_mb", "macc_g", "flops_g")}
    words = {"base", "input_size", "split_percent", "loss", "optimiser", "norm"}
    assert set(table.columns) <= set(METRICS) | own | costs | words


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_numbers_are_of_the_statistic_the_table_names(table):
    for numbers in (row.values.values() for row in table.rows):
        for number in numbers:
            if isinstance(number, Number) and len(printed(number)) > 1:
                assert (number.sd is not None) == (table.statistic in ("mean_sd", "mean_population_sd"))
                assert (number.low is not None) == (table.statistic == "mean_ci")
                assert number.low is None or number.low <= number.mean <= number.high


@pytest.mark.parametrize(
    ("table", "method", "where", "column", "expected"),
    [
        ("sgnet_table3", "Baseline", {"site": "1"}, "dice", (0.5295, 0.2407)),
        ("sgnet_table3", "DA", {"site": "5"}, "dice", (0.4659, 0.2605)),
        ("sgnet_table3", "DA + SL + MAIN", {"site": "5"}, "f1", (0.6040, 0.2474)),
        ("sgnet_table3", "SL + MAIN", {"site": "4"}, "recall", (0.4128, 0.3182)),
        ("sgnet_table4", "SG-Net without DA", {}, "training_memory_mb", (263.52,)),
        ("sgnet_table4", "SG-Net with DA", {}, "training_macc_g", (33.59,)),
        ("sgnet_table5", "U-Net", {}, "dice", (0.4712, 0.1952)),
        ("sgnet_table5", "SG-Net", {}, "recall", (0.5977, 0.1587)),
        ("sgnet_table5", "SG-Net", {}, "flops_g", (33.63,)),
        ("sgnet_table5", "X-Net", {}, "memory_mb", (915.67,)),
        ("sgnet_table6", "SG-Net", {"site": "48"}, "recall", (0.4259, 0.1792)),
        ("sgnet_table6", "U-Net", {"site": "38"}, "f1", (0.0968, 0.0265)),
        ("sgnet_table7", "SG-Net, plain sampling", {}, "recall", (0.5977, 0.1580)),
        ("sgnet_table7", "SG-Net, balanced sampling", {}, "dice", (0.5690, 0.1925)),
        ("mapping_table1", "Self-Training", {}, "volume_difference", (5628, 11084)),
        ("mapping_table2", "Ensemble + PP", {}, "lesion_count_difference", (4.537, 7.022)),
        ("mapping_table3", "MIRC", {}, "challenge_score", (4.937,)),
        ("mapping_folds", "Res U-Net", {"fold": "3"}, "hd95", (25.08, 28.56)),
        ("mapping_folds", "Ensemble", {}, "jaccard", (0.5271, 0.2527)),
        ("resunet3d_table2", "3D-ResU-Net-E", {}, "mdsc", (0.65, 0.53, 0.77)),
        ("resunet3d_table2", "Trained human tracer", {}, "hd", (22.6, 1.2, 43.9)),
        ("resunet3d_table3", "CLCI-Net (Yang et al. 2019)", {}, "dice", (0.58,)),
        ("resunet3d_table4", "3D-ResU-Net", {"quarter": "3"}, "assd", (4.1, 0.6, 8.8)),
        ("resunet3d_table5", "3D-ResU-Net-F", {}, "micro_dice", (0.73,)),
        ("sunet_table1", "Balanced", {"dataset": "isles2015_spes"}, "hd_voxels", (12.4, 7.6)),
        ("sunet_table1", "Proposed", {"dataset": "isles2015_siss"}, "min_voxels", (200,)),
        ("sunet_table2", "clera2 (this method)", {}, "hd", (34.7, 28.9)),
        ("sunet_table3", "ghosp1", {}, "recall", (0.83, 0.11)),
        ("synthstroke_table1", "Synth", {}, "lesion_count_difference", (1.76,)),
        ("synthstroke_table2", "Baseline", {}, "volume_difference", (14567,)),
        ("synthstroke_table3", "Baseline", {"modality": "ensemble"}, "hd95", (math.inf,)),
        ("synthstroke_table4", "Synth", {"modality": "ADC"}, "lesion_f1", (0.117,)),
    ],
)
def test_published_numbers(table, method, where, column, expected):
    assert printed(row(table, method, **where).values[column]) == expected


def test_words_stay_words():
    values = row("resunet3d_table3", "D-UNet (Zhou et al. 2019)").values
    assert (values["loss"], values["input_size"]) == ("Dice + focal", "192×4×192")


def test_lesion_f1_of_before_the_scorer_changed_is_missing_not_zero():
    assert "lesion_f1" not in row("mapping_table2", "Default").values
    assert "lesion_f1" not in row("mapping_table2", "DTK10").values


# Numbers that can be had from others.


def test_mean_of_the_ablation_gains_is_the_papers():
    sites = ("1", "4", "5")
    gains = [
        mean("sgnet_table3", "DA + SL + MAIN", "dice", site=s) - mean("sgnet_table3", "Baseline", "dice", site=s)
        for s in sites
    ]
    assert [round(gain, 4) for gain in gains] == [0.0723, 0.0697, 0.0926]


def test_plain_sampling_of_table_seven_is_table_five_but_for_the_told_sd():
    five, seven = row("sgnet_table5", "SG-Net").values, row("sgnet_table7", "SG-Net, plain sampling").values
    assert (five["dice"], five["f1"]) == (seven["dice"], seven["f1"])
    assert (five["recall"].mean, five["recall"].sd) == (seven["recall"].mean, 0.1587)
    assert seven["recall"].sd == 0.1580


def test_ablation_rows_name_their_parts_as_often_as_the_paper_ticks_them():
    rows = [r for r in TABLES["sgnet_table3"].rows if r.where["site"] == "4"]
    ticks = {part: sum(part in (r.parts or ()) for r in rows) for part in ("hemispheres", "adversary", "standardizer")}
    assert ticks == {"hemispheres": 3, "adversary": 4, "standardizer": 2}
    assert len({r.parts for r in rows}) == 6
    assert set(TABLES["sgnet_table3"].ticks) == set(ticks)


# Off by more than the rounding of five folds; the table's footnotes tell it.
TOLD = {("Default", "hd95"), ("DTK10", "hd95"), ("Self-Training", "hd95")}
ROUNDING = {
    "dice": 5.5e-4,
    "lesion_f1": 5.5e-4,
    "lesion_count_difference": 5.5e-3,
    "volume_difference": 1,
    "hd95": 5.5e-3,
}


@pytest.mark.parametrize("method", [row.method for row in TABLES["mapping_table1"].rows])
@pytest.mark.parametrize("column", list(TABLES["mapping_table1"].columns))
def test_five_folds_of_131_scans_give_back_mappings_table_one(method, column):
    folds = [row("mapping_folds", method, fold=str(k)).values[column] for k in range(5)]
    over_all = statistics.fmean(fold.mean for fold in folds)
    squares = sum(130 * fold.sd**2 + 131 * (fold.mean - over_all) ** 2 for fold in folds)
    table = row("mapping_table1", method).values[column]
    off = abs(over_all - table.mean)
    assert off < ROUNDING[column] + 1e-9 or ((method, column) in TOLD and 0.0055 < off < 0.01)
    assert math.sqrt(squares / 654) == pytest.approx(table.sd, abs=0.025 if column == "hd95" else 2 * ROUNDING[column])
    all_folds = row("mapping_folds", method).values.get(column)
    assert all_folds is None or all_folds.mean == pytest.approx(over_all, abs=6e-5)


def test_mappings_final_entry_is_its_last_row_and_gains_what_the_text_says():
    rounded = {"dice": 0.6667, "lesion_f1": 0.5643, "lesion_count_difference": 4.5367, "volume_difference": 8804.9102}
    final = row("mapping_table2", "Ensemble + PP").values
    for column, value in rounded.items():
        assert final[column].mean == pytest.approx(value, abs=0.5 if column == "volume_difference" else 5e-4)
    gain = final["dice"].mean - mean("mapping_table2", "Ensemble", "dice")
    assert gain == pytest.approx(0.6667 - 0.6640, abs=1e-3)
    scores = [row.values["challenge_score"].mean for row in TABLES["mapping_table3"].rows]
    assert scores == sorted(scores)


def test_tomitas_last_row_is_the_difference_of_the_two_above():
    without, with_stage, printed_difference = (row.values for row in TABLES["resunet3d_table5"].rows)
    for column, difference in printed_difference.items():
        assert with_stage[column].mean - without[column].mean == pytest.approx(difference.mean, abs=1e-9)


def test_tomitas_quarters_give_back_the_whole_but_for_the_told_precision():
    sizes = (8, 7, 8, 8)  # 31 scans cut at their percentiles
    for column, rounding in {"dice": 0.01, "hd": 0.1, "assd": 0.1, "recall": 0.01, "precision": 0.01}.items():
        quarters = [mean("resunet3d_table4", "3D-ResU-Net", column, quarter=k) for k in "1234"]
        whole = sum(n * value for n, value in zip(sizes, quarters, strict=True)) / 31
        agrees = abs(whole - mean("resunet3d_table2", "3D-ResU-Net", column)) <= rounding
        assert agrees == (column != "precision")


def test_tomitas_brackets_that_are_likely_an_sd_are_symmetric():
    for table, method, column in (
        ("resunet3d_table2", "Trained human tracer", "dice"),
        ("resunet3d_table2", "Trained human tracer", "hd"),
        ("resunet3d_table3", "D-UNet (Zhou et al. 2019)", "dice"),
    ):
        value = row(table, method).values[column]
        assert (value.low + value.high) / 2 == pytest.approx(value.mean, abs=0.051 if column == "hd" else 0.0051)


@pytest.mark.parametrize("line", TABLES["sunet_table1"].rows, ids=lambda row: f"{row.where['dataset']}-{row.method}")
def test_sunets_score_comes_from_its_means(line):
    score = combined_score(line.values["dice"].mean, line.values["hd_voxels"].mean)
    assert score == pytest.approx(line.values["combined_score"].mean, abs=5e-5)


def test_sunets_leads_are_those_of_its_text():
    for table, second, share in (("sunet_table2", "kamnk1", 0.12), ("sunet_table3", "mckir1", 0.28)):
        first, runner_up = TABLES[table].rows[:2]
        assert runner_up.method.startswith(second)
        lead = 1 - first.values["hd"].mean / runner_up.values["hd"].mean
        assert math.floor(lead * 100) / 100 == share
        dice = [row.values["dice"].mean for row in TABLES[table].rows]
        assert dice == sorted(dice, reverse=True)


def test_synthstroke_where_the_baseline_is_better_is_told():
    for table in ("synthstroke_table3", "synthstroke_table4"):
        better = {
            (modality, column)
            for modality in dict.fromkeys(row.where["modality"] for row in TABLES[table].rows)
            for column in ("hd95", "volume_difference", "lesion_count_difference")
            if mean(table, "Baseline", column, modality=modality) < mean(table, "Synth", column, modality=modality)
        }
        always = {("DWI", "hd95"), ("DWI", "volume_difference"), ("DWI", "lesion_count_difference")}
        further = {
            "synthstroke_table3": {("T2", "hd95"), ("T2", "volume_difference")}
            | {(modality, "lesion_count_difference") for modality in ("T1", "FLAIR", "ensemble")},
            "synthstroke_table4": {("FLAIR", "hd95"), ("FLAIR", "volume_difference")}
            | {(modality, "lesion_count_difference") for modality in ("FLAIR", "ADC")},
        }
        assert better == always | further[table]


def test_contradictions_of_the_paper_are_told():
    notes = " ".join(note for table in TABLES.values() for note in table.footnotes)
    facts = ("33.63", "0.4695", "not blind", "0.1580", "132.11", "digit by digit", "0.3794")  # SG-Net
    facts += ("22.360", "3.431", "800", "8804.9102", "25 June", "22 June", "pseudo-labels")  # MAPPING
    facts += ("0.51-0.74", "0.89", "0.78", "0.5-2.8", "21 639", "R2 = 0.34", "likely mean ± SD", "Xue et al.")  # Tomita
    facts += ("Equation 2", "260 000", "p < 0.02", "28.6 %", "no unit")  # SUNet
    facts += ("6 neighbours since June 2022", "17 %", "printed as a tie", "outperforms Baseline for all")  # SynthStroke
    for fact in facts:
        assert fact in notes


@pytest.mark.parametrize(
    ("name", "number"),
    [("5", "5"), ("site-05", "5"), ("R038", "38"), ("cohort 2, R040", "40"), ("Oslo", None), (None, None)],
)
def test_site_numbers_meet_across_namings(name, number):
    assert site_number(name) == number


@pytest.mark.parametrize(
    "text",
    [
        "title: x\n",
        "- 1\n",
        "{",
        "title: a\ncitation: b\nover: ''\ndatasets: []\ncolumns: {a: A}\nrows: [{method: m, values: {b: 1}}]\n",
    ],
)
def test_a_file_of_another_form_is_named(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_table(path)


def test_no_table_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="sgnet"):
        load_tables(tmp_path, "sgnet_*")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    parts: []", "    part: []", "unknown key in a row: ['part']"),
        ("where: {site:", "where: {place:", "where: ['place']"),
        ("over: cases", "over: scans", "'scans', expected one of"),
        ("  profile: sgnet", "  profile: sgnett", "sgnett"),
        ("  cases: 94", "  case: 94", "unknown key in a protocol: ['case']"),
        ("title:", "titel:", "unknown key in a table: ['titel']"),
    ],
)
def test_a_misspelt_key_is_named_not_ignored(tmp_path, old, new, told):
    text = (CONF / "paper" / "sgnet_table3.yaml").read_text()
    assert old in text
    path = tmp_path / "table.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as error:
        load_table(path)
    assert told in str(error.value)


def test_groups_are_those_the_tables_use():
    used = {key for table in TABLES.values() for row in table.rows for key in row.where}
    assert used == set(GROUPS)
