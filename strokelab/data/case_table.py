"""Cases as a list that shows itself as a table. Knows cases; opens no image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strokelab.contract import Case

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10


class Cases(list[Case]):
    """Cases in their order; a list in everything but how it is shown."""

    def to_frame(self) -> pd.DataFrame:
        """One row per case: case, subject, dataset, site, labelled, a path per modality, and what the metadata say."""
        import pandas as pd

        rows = [
            {
                "case": case.case_id,
                "subject": case.subject_id,
                "dataset": case.dataset,
                "site": case.site,
                "labelled": case.labelled,
                **{name: str(path) for name, path in case.images.items()},
                **{key: value for key, value in case.meta.items() if key not in case.images},
            }
            for case in self
        ]
        return pd.DataFrame(rows, columns=None if rows else ["case", "subject", "dataset", "site", "labelled"])

    def __repr__(self) -> str:
        """How many there are, and the first of them as a table, without paths and metadata."""
        return f"{self._counted}\n{self._first.to_string(index=False)}" if self else self._counted

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return f"<p>{self._counted}</p>{self._first.to_html(index=False)}" if self else f"<p>{self._counted}</p>"

    @property
    def _first(self) -> pd.DataFrame:
        """The columns that fit a line."""
        first = Cases(self[:_SHOWN])
        table = first.to_frame()[["case", "subject", "dataset", "site", "labelled"]]
        return table.assign(images=[" + ".join(case.images) for case in first])

    @property
    def _counted(self) -> str:
        subjects = len({case.subject_id for case in self})
        more = f"; the first {_SHOWN}:" if len(self) > _SHOWN else ""
        return f"{len(self)} cases of {subjects} subjects{more}"
