import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from strokelab.report.figures import (
    box_plots,
    box_values,
    chance_of,
    curves,
    epoch_values,
    grey_value_figure,
    png,
    site_accuracy,
    size_scatter,
)
from strokelab.report.sections import picture_sections


def test_box_values_are_the_tables(evaluation):
    values = box_values(evaluation.cases, "dice")
    assert list(values) == [("5", "unet2d"), ("5", "sgnet")]
    assert values["5", "unet2d"].tolist() == [0.25, 0.5, 0.75]
    assert values["5", "sgnet"].tolist() == [0.6, 0.7]  # the failed case is not drawn


def test_boxes_in_natural_order_with_a_diamond_at_the_mean():
    cases = pd.DataFrame(
        {"case": list("abcd"), "site": ["10", "9", "9", None], "model": "m", "dice": [0.1, 0.2, 0.6, 1]}
    )
    axes = box_plots(cases, "dice").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["9  (n=2)", "10  (n=1)", "unknown  (n=1)"]
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert diamonds == pytest.approx([0.4, 0.1, 1.0])


def test_infinite_distances_are_not_drawn_and_nothing_is_an_error(evaluation):
    assert box_values(evaluation.cases, "hd95")["5", "unet2d"].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="no finite value"):
        box_plots(evaluation.cases.assign(hd=np.inf), "hd")


def test_scatter_leaves_out_cases_without_lesion(evaluation):
    cases = evaluation.cases  # a new table
    cases.loc[cases["case"] == "a1", "lesion_ml"] = 0.0
    marks = {line.get_label(): line.get_xdata().tolist() for line in size_scatter(cases).axes[0].lines}
    assert marks == {"unet2d": [3.0, 0.2], "sgnet": [3.0]}


def test_sparse_logs_become_one_value_per_epoch(history):
    assert epoch_values(history, "train/loss").tolist() == pytest.approx([3.1, 2.1, 1.1, 0.1])
    assert epoch_values(history, "val/pooled_dice").tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert epoch_values(history, "not/logged").empty


def test_curves_average_the_runs_of_a_model(evaluation, history):
    run = evaluation.runs[1]
    twin = dataclasses.replace(run, name="b", history=history.assign(**{"train/loss": history["train/loss"] + 2}))
    figure = curves([run, twin], {"train/loss": "loss"}, ylabel="loss")
    (line,) = figure.axes[0].lines
    assert line.get_ydata().tolist() == pytest.approx([4.1, 3.1, 2.1, 1.1])
    assert line.get_xdata().tolist() == [1, 2, 3, 4]
    assert len(figure.axes[0].collections) == 1  # the band


def test_site_accuracy_has_both_reference_lines(evaluation):
    axes = site_accuracy(evaluation.runs).axes[0]
    labels = [line.get_label() for line in axes.lines]
    assert "chance, 0.125" in labels
    assert "always the largest site, 0.500" in labels
    assert sum(label.startswith("sgnet") for label in labels) == 2
    assert not any(label.startswith("unet2d") for label in labels)
    assert site_accuracy(evaluation.runs[:1]) is None


def test_chance_is_one_over_the_training_sites_when_not_logged(evaluation):
    assert chance_of(evaluation.runs[0]) == pytest.approx(1 / 3, abs=1e-6)
    assert chance_of(evaluation.runs[1]) == 0.125


def test_grey_values_have_a_line_per_site_in_four_panels(evaluation):
    figure = grey_value_figure(evaluation.runs[1].grey_values)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3, 3]


def test_every_picture_is_crisp_and_not_blank(evaluation):
    pictures = [picture for section in picture_sections(evaluation) for picture in section.pictures]
    assert len({picture.name for picture in pictures}) == len(pictures)
    for picture in pictures:
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.width >= 1000
            assert len(image.convert("RGB").getcolors(1 << 20)) > 8
            assert np.asarray(image.convert("L")).std() > 5


def test_the_same_table_gives_the_same_picture(evaluation):
    assert png(box_plots(evaluation.cases, "dice")) == png(box_plots(evaluation.cases, "dice"))


def test_names_with_dollar_signs_are_names():
    cases = pd.DataFrame({"case": ["a"], "site": ["$x"], "model": ["$\\frac$"], "dice": [0.5], "lesion_ml": [1.0]})
    assert png(box_plots(cases, "dice"))
    assert png(size_scatter(cases))
