from pathlib import Path

import pytest

from strokelab.errors import ConfigError
from strokelab.report.paper_tables import load_table, load_tables, site_number

CONF = Path(__file__).parents[2] / "conf"
TABLES = {table.name: table for table in load_tables(CONF, "sgnet_*")}


def row(table: str, method: str, site: str | None = None):
    (found,) = [row for row in TABLES[table].rows if row.method == method and row.site == site]
    return found


def test_the_five_tables_with_their_row_counts():
    counts = {name: len(table.rows) for name, table in TABLES.items()}
    assert counts == {"sgnet_table3": 18, "sgnet_table4": 2, "sgnet_table5": 9, "sgnet_table6": 9, "sgnet_table7": 2}
    assert all("2205.04329" in table.citation and table.protocol for table in TABLES.values())


@pytest.mark.parametrize(
    ("table", "method", "site", "column", "expected"),
    [
        ("sgnet_table3", "Baseline", "1", "dice", (0.5295, 0.2407)),
        ("sgnet_table3", "DA", "5", "dice", (0.4659, 0.2605)),
        ("sgnet_table3", "DA + SL + MAIN", "5", "f1", (0.6040, 0.2474)),
        ("sgnet_table3", "SL + MAIN", "4", "recall", (0.4128, 0.3182)),
        ("sgnet_table4", "SG-Net without DA", None, "training_memory_mb", (263.52, None)),
        ("sgnet_table4", "SG-Net with DA", None, "training_macc_g", (33.59, None)),
        ("sgnet_table5", "U-Net", None, "dice", (0.4712, 0.1952)),
        ("sgnet_table5", "SG-Net", None, "recall", (0.5977, 0.1587)),
        ("sgnet_table5", "SG-Net", None, "flops_g", (33.63, None)),
        ("sgnet_table5", "X-Net", None, "memory_mb", (915.67, None)),
        ("sgnet_table6", "SG-Net", "48", "recall", (0.4259, 0.1792)),
        ("sgnet_table6", "U-Net", "38", "f1", (0.0968, 0.0265)),
        ("sgnet_table7", "SG-Net, plain sampling", None, "recall", (0.5977, 0.1580)),
        ("sgnet_table7", "SG-Net, balanced sampling", None, "dice", (0.5690, 0.1925)),
    ],
)
def test_published_numbers(table, method, site, column, expected):
    assert row(table, method, site).values[column] == expected


def test_mean_of_the_ablation_gains_is_the_papers():
    full, base = ([row("sgnet_table3", m, s).values["dice"][0] for s in "145"] for m in ("DA + SL + MAIN", "Baseline"))
    assert [round(a - b, 4) for a, b in zip(full, base, strict=True)] == [0.0723, 0.0697, 0.0926]


def test_ablation_rows_name_their_parts_as_often_as_the_paper_ticks_them():
    rows = [r for r in TABLES["sgnet_table3"].rows if r.site == "4"]
    ticks = {part: sum(part in (r.parts or ()) for r in rows) for part in ("hemispheres", "adversary", "standardizer")}
    assert ticks == {"hemispheres": 3, "adversary": 4, "standardizer": 2}
    assert len({r.parts for r in rows}) == 6


def test_contradictions_of_the_paper_are_told():
    notes = " ".join(note for table in TABLES.values() for note in table.footnotes)
    for fact in ("33.63", "0.4695", "not blind", "0.1580", "132.11", "digit by digit", "0.3794"):
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
