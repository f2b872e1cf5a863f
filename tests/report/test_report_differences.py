import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_material import case_row, case_table

from strokelab.report.differences import (
    MOST_PAIRS,
    difference_figure,
    difference_section,
    foremost,
    paired_differences,
)
from strokelab.report.material import Evaluation, RunMaterial


def rows(model: str, dices: dict[str, float], run: str = "") -> pd.DataFrame:
    return pd.DataFrame(
        [case_row(case, "1", dice, run=run or model) | {"model": model} for case, dice in dices.items()]
    )


TWO = pd.concat(
    [rows("unet", {"a": 0.5, "b": 0.4, "c": 0.3, "only": 0.9}), rows("sgnet", {"a": 0.7, "b": 0.7, "c": np.nan})]
)


def test_differences_pair_by_case_and_point_from_the_first_model():
    (pair,) = paired_differences(TWO, "dice")
    assert (pair.first, pair.second) == ("unet", "sgnet")  # as they appear, as in the table of comparisons
    assert pair.values.tolist() == pytest.approx([-0.2, -0.3])
    assert pair.mean == pytest.approx(-0.25)
    assert -0.3 <= pair.low <= pair.mean <= pair.high <= -0.2


def test_repeats_of_a_case_are_averaged_first():
    table = pd.concat([rows("unet", {"a": 0.2}, "u0"), rows("unet", {"a": 0.4}, "u1"), rows("sgnet", {"a": 0.6})])
    (pair,) = paired_differences(table, "dice")
    assert pair.values.tolist() == pytest.approx([-0.3])


def test_models_without_a_shared_case_have_no_pair():
    table = pd.concat([rows("unet", {"a": 0.2}), rows("sgnet", {"b": 0.6})])
    assert paired_differences(table, "dice") == []


def test_of_many_models_the_best_one_is_drawn():
    table = pd.concat([rows(f"m{k}", {"a": 0.1 * k, "b": 0.1 * k + 0.05}) for k in range(5)])
    pairs = paired_differences(table, "dice")
    shown = foremost(pairs, table, "dice")
    assert len(pairs) == 10 > MOST_PAIRS
    assert [{pair.first, pair.second} for pair in shown] == [{f"m{k}", "m4"} for k in range(4)]
    few = pairs[:MOST_PAIRS]
    assert foremost(few, table, "dice") == few


def test_the_figure_shows_every_case_the_interval_and_who_is_better():
    (pair,) = paired_differences(TWO, "dice")
    axes = difference_figure([pair], "dice").axes[0]
    dots, interval, mean = axes.lines[1:]
    assert sorted(dots.get_xdata()) == pytest.approx([-0.3, -0.2])
    assert interval.get_xdata() == pytest.approx([pair.low, pair.high])
    assert mean.get_xdata() == pytest.approx([-0.25])
    texts = {text.get_text(): text.get_ha() for text in axes.texts}
    assert texts == {"← sgnet better": "left", "unet better →": "right"}  # unet − sgnet > 0 speaks for unet
    low, high = axes.get_xlim()
    assert low == -high  # zero in the middle
    swapped = difference_figure([dataclasses.replace(pair, values=np.zeros(2))], "hd95").axes[0]
    assert {text.get_text() for text in swapped.texts} == {"← unet better", "sgnet better →"}  # of a distance, less


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no pair"):
        difference_figure([], "dice")


def test_sections_say_why_there_is_no_figure():
    def evaluation(**models: dict[str, float]) -> Evaluation:
        runs = [
            RunMaterial(name, name, "d", case_table(*(case_row(case, "1", dice) for case, dice in dices.items())))
            for name, dices in models.items()
        ]
        return Evaluation("t", "d", tuple(runs))

    assert "nothing to compare" in difference_section(evaluation(a={"x": 0.5})).sentences[0]
    assert "share" in difference_section(evaluation(a={"x": 0.5}, b={"y": 0.5})).sentences[0]
    five = difference_section(evaluation(**{f"m{k}": {"x": 0.1 * k} for k in range(5)}))
    assert "10 pairs of models in all" in five.sentences[0]
    assert [picture.name for picture in five.pictures] == ["paired_differences"]
    assert "m0 minus m4" in five.pictures[0].alt
