"""Several rows of one case (seeds, runs, modalities) become one before cases are compared. Knows rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.errors import DataError
from strokelab.statistics.aggregate import check_rows, has_failed
from strokelab.statistics.bootstrap import cluster_names, in_clusters


def average_repeats(
    table: pd.DataFrame, metrics: Sequence[str], *, column: str, cluster: str = "subject", keep: Sequence[str] = ()
) -> pd.DataFrame:
    """One row per value of a column and case: the mean of each metric over the rows that did not fail.

    Args:
        table: a case table.
        metrics: columns to average; one infinite value makes the case infinite, undefined ones (NaN) are left out.
        column: what is to be compared, e.g. ``model``.
        cluster: column of the patient, see ``bootstrap.cluster_names``.
        keep: further columns, the first row's value.

    Returns:
        Indexed by (``column``, ``case``), sorted: the metrics, the columns of ``keep``, ``cluster`` (its name), the
        numbers of ``good`` and ``failed`` rows.

    Raises:
        DataError: a case is listed twice in a run, a column is missing, or ``column`` has missing values.
    """
    check_rows(table, (column, *metrics, *keep))
    nameless = int(table[column].isna().sum())
    if nameless:
        raise DataError(
            "case table",
            found=f"{nameless} rows without a {column}",
            expected=f"a {column} in every row, since it is what is compared",
            remedy=f"name the {column}, or compare by another column",
        )
    rows, _ = in_clusters(table, cluster)
    groups = rows.groupby([column, "case"], sort=True, observed=True)
    members = groups.ngroup().to_numpy().astype(np.intp)
    failed = has_failed(rows).to_numpy()
    result = pd.DataFrame({"cluster": cluster_names(rows, cluster), **{name: rows[name] for name in keep}})
    result = result.groupby([rows[column], rows["case"]], sort=True, observed=True).first()
    for metric in metrics:
        values = np.where(failed, np.nan, rows[metric].to_numpy(dtype=float))
        result[metric] = _mean(values, members, len(result))
    result["good"] = np.bincount(members[~failed], minlength=len(result))
    result["failed"] = np.bincount(members[failed], minlength=len(result))
    return result


def _mean(values: NDArray[np.float64], members: NDArray[np.intp], groups: int) -> NDArray[np.float64]:
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(members[finite], values[finite], groups) / np.bincount(members[finite], minlength=groups)
    mean[members[np.isinf(values)]] = np.inf
    return mean
