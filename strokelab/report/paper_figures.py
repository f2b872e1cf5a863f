"""The papers' figures as data: read from ``conf/figure``. Knows what each shows and what makes it; draws none."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from strokelab.errors import ConfigError
from strokelab.metrics.profiles import find_profile

_LISTS = ("train", "evaluate", "pictures")


@dataclass(frozen=True)
class PaperFigure:
    """One published figure.

    Args:
        name: of its file.
        title: of the figure.
        citation: of the paper.
        shows: what is seen, in words of ours.
        made_by: the function of ``report`` that makes it; "" = none does, and ``impossible`` says why.
        pictures: names (patterns) of the pictures of an evaluation that are meant; (): the function looks at the scans
            of a data set and at no run.
        dataset: of ``conf/data``, whose scans it shows.
        sweep: as of ``PaperTable``.
        train: as of ``PaperTable``.
        evaluate: as of ``PaperTable``.
        profile: of the metrics.
        impossible: why it cannot be made here.
    """

    name: str
    title: str
    citation: str
    shows: str
    made_by: str = ""
    pictures: tuple[str, ...] = ()
    dataset: str = ""
    sweep: str = ""
    train: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    profile: str = "default"
    impossible: str = ""

    @property
    def of_scans(self) -> bool:
        """Whether it shows the scans of a data set and no run."""
        return bool(self.made_by) and not self.pictures


def load_figures(conf: Path, pattern: str = "*") -> tuple[PaperFigure, ...]:
    """The figures ``<conf>/figure/<pattern>.yaml`` in order of their names.

    Raises:
        ConfigError: a file is not a figure of this form.
    """
    return tuple(load_figure(path) for path in sorted((conf / "figure").glob(f"{pattern}.yaml")))


def load_figure(path: Path) -> PaperFigure:
    """One figure from its yaml file.

    Raises:
        ConfigError: the file is not a figure of this form, has an unknown key, or does not say what makes it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if strange := set(content) - {part.name for part in fields(PaperFigure)}:
            raise ValueError(f"unknown key in a figure: {sorted(strange)}")
        lists = {key: tuple(content.get(key, ())) for key in _LISTS}
        figure = PaperFigure(**{**content, **lists, "name": path.stem})
        find_profile(figure.profile)
        if bool(figure.made_by) == bool(figure.impossible):
            raise ValueError("expected one of made_by and impossible")
    except (OSError, yaml.YAMLError, TypeError, ValueError, ConfigError) as error:
        raise ConfigError(
            path,
            found=f"{type(error).__name__}: {error}",
            expected="title, citation, shows, and what makes a published figure or why nothing does",
            remedy="compare with the other files in conf/figure",
        ) from error
    return figure
