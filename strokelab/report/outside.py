"""How much lesion lies where a method does not look: it bounds recall and Dice. Knows a case table."""

from __future__ import annotations

import pandas as pd

OUTSIDE = "lesion_outside"


def outside_notes(cases: pd.DataFrame, by: str) -> list[str]:
    """One sentence for each method whose windows leave something out; none for the others.

    Args:
        cases: a case table; rows without the column, or without a lesion, are passed over.
        by: the column that names the methods.
    """
    if OUTSIDE not in cases.columns:
        return []
    notes = []
    for name, rows in cases[cases[OUTSIDE].notna()].groupby(by, sort=False):
        lesion, share = rows["tp"] + rows["fn"], rows[OUTSIDE]
        notes.append(
            f"{name} looks at a part of each volume: {100 * (share * lesion).sum() / lesion.sum():.1f} % of the lesion "
            f"voxels lie outside, in {int((share > 0).sum())} of {len(rows)} rows, at most {100 * share.max():.1f} % "
            "of a lesion; they are missed whatever the network says."
        )
    return notes
