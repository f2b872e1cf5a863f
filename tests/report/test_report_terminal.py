"""The table a command ends with."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from strokelab.report.terminal import results_table


def shown(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(results_table(table, title="two runs"))
    return console.file.getvalue()


def cases(**columns):
    frame = {"run": "sgnet", "site": ["Site1", "Site1", "Site2"], "dice": [0.5, 0.75, 0.25], "recall": 0.5}
    frame |= {"precision": 0.5, "hd95": [10.0, 30.0, np.inf], "lesion_f1": [1.0, np.nan, 0.0]}
    return pd.DataFrame({**frame, **columns})


def rows(text):
    """First word of each row to all its words."""
    return {line.split()[0]: line.split() for line in text.splitlines()[4:] if line.strip()}


def test_means_and_deviations_over_all_and_per_site():
    found = rows(shown(cases()))
    assert list(found) == ["sgnet", "Site1", "Site2"]
    assert found["sgnet"][1:] == ["3", "0.500±0.25", "0.500±0.00", "0.500±0.00", "20.0±14.1", "+1∞", "0.500±0.71"]
    assert found["Site1"][1:4] == ["2", "0.625±0.18", "0.500±0.00"]
    assert found["Site1"][-1] == "1.000", "undefined values are left out of the mean"
    assert found["Site2"][1:] == ["1", "0.250", "0.500", "0.500", "+1∞", "0.000"]


def test_runs_follow_in_their_order_and_one_site_needs_no_sum():
    two = pd.concat([cases(run="unet2d", site="Site1"), cases(run="sgnet", site=None)])
    assert list(rows(shown(two))) == ["unet2d", "sgnet"]


@pytest.mark.parametrize("run", ["sgnet", "sgnet-da-sl-main"])
def test_numbers_are_whole_in_eighty_columns(run):
    text = shown(cases(run=run, hd95=[101.25, 30.5, np.inf], site=["Site1", "unknown", "Site10"]))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "65.9±50.0 +1∞" in text


def test_a_table_of_failures_only():
    failed = pd.DataFrame({"run": ["a[b]"], "site": ["Site1"], "error": ["gone"]})
    assert rows(shown(failed))["a[b]"][1:] == ["1", "-", "-", "-", "-", "-"]
