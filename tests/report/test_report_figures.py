import dataclasses
import io
import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from report_material import case_row

from strokelab.report.differences import difference_figure, foremost, paired_differences
from strokelab.report.drawing import pdf, png
from strokelab.report.figures import box_plots, box_values, size_scatter
from strokelab.report.grey_values import grey_value_figure
from strokelab.report.heatmap import heatmap
from strokelab.report.sections import MOST_OVERLAYS, overlay_section, picture_sections
from strokelab.report.training import chance_of, curves, epoch_values, site_accuracy


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
    assert marks == {"unet2d": [3.0, 0.2], "sgnet": [3.0]}  # two cases lie on a line, so none is drawn


def test_scatter_draws_the_fit_on_the_logarithm_of_the_volume():
    # Dice = 0.2 + 0.3 log10(ml) for one model exactly; of the other a third of the variance is explained
    cases = pd.DataFrame(
        {
            "model": ["exact"] * 3 + ["loose"] * 4 + ["constant"] * 3,
            "lesion_ml": [1.0, 10.0, 100.0, 1.0, 1.0, 10.0, 10.0, 1.0, 2.0, 3.0],
            "dice": [0.2, 0.5, 0.8, 0.2, 0.4, 0.4, 0.4, 0.5, 0.5, 0.5],
        }
    )
    figure = size_scatter(cases)
    fits = [line for line in figure.axes[0].lines if line.get_marker() in ("", "None")]
    assert fits[0].get_xdata().tolist() == [1.0, 100.0]
    assert fits[0].get_ydata().tolist() == pytest.approx([0.2, 0.8])
    assert fits[1].get_ydata().tolist() == pytest.approx([0.3, 0.4])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "exact: R² 1.00, p < 0.001 (n=3)",
        "loose: R² 0.33, p = 0.42 (n=4)",  # t = 1 with two degrees of freedom
        "constant (n=3)",
    ]
    assert len(fits) == 2


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


def test_what_a_fresh_classifier_found_stands_at_the_last_epoch(evaluation):
    run = evaluation.runs[1]
    last = run.history.iloc[[-1]].assign(**{name: np.nan for name in run.history.columns if name != "step"})

    def probed(accuracy, name):
        row = last.assign(**{"site/probe_accuracy": accuracy})
        return dataclasses.replace(run, name=name, history=pd.concat([run.history, row], ignore_index=True))

    axes = site_accuracy([probed(0.75, "a"), probed(0.25, "b")]).axes[0]
    (mark,) = (line for line in axes.lines if line.get_marker() == "D")
    assert mark.get_label() == "sgnet: a fresh classifier after training, 0.500"
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (4, 0.5)
    assert not any(line.get_marker() == "D" for line in site_accuracy([run]).axes[0].lines)


def test_chance_is_one_over_the_training_sites_when_not_logged(evaluation):
    assert chance_of(evaluation.runs[0]) == pytest.approx(1 / 3, abs=1e-6)
    assert chance_of(evaluation.runs[1]) == 0.125


def test_grey_values_have_a_line_per_site_in_four_panels(evaluation):
    figure = grey_value_figure(evaluation.runs[1].grey_values)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3, 3]


def test_every_picture_is_crisp_and_not_blank(evaluation, monkeypatch):
    monkeypatch.setattr("strokelab.report.pictures.png", png)
    monkeypatch.setattr("strokelab.report.pictures.pdf", pdf)
    pictures = [picture for section in picture_sections(evaluation) for picture in section.pictures]
    assert len({picture.name for picture in pictures}) == len(pictures)
    for picture in pictures:
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.width >= 1000
            assert len(image.convert("RGB").getcolors(1 << 20)) > 8
            assert np.asarray(image.convert("L")).std() > 5
        assert picture.pdf.startswith(b"%PDF-")


def test_the_same_table_gives_the_same_picture(evaluation):
    assert png(box_plots(evaluation.cases, "dice")) == png(box_plots(evaluation.cases, "dice"))


def test_the_same_table_gives_the_same_pdf_without_a_date(evaluation):
    first, second = (pdf(box_plots(evaluation.cases, "dice")) for _ in range(2))
    assert first == second
    assert first.startswith(b"%PDF-")
    assert b"CreationDate" not in first
    assert b"/FontFile2" in first  # TrueType, not the Type 3 that journals refuse


def test_overlays_of_many_runs_stay_in_the_folder(evaluation, overlay):
    dices = {("a", 0): 0.1, ("a", 1): 0.2, ("a", 2): 0.3, ("a", 3): 0.4, ("b", 0): 0.9, ("b", 1): 0.8}
    runs = [
        dataclasses.replace(
            evaluation.runs[0],
            name=f"{model}{k}",
            model=model,
            overlays=(dataclasses.replace(overlay, dice=dice), dataclasses.replace(overlay, dice=0.95)),
        )
        for (model, k), dice in dices.items()
    ]
    section = overlay_section(dataclasses.replace(evaluation, runs=tuple(runs)))
    assert MOST_OVERLAYS == 4
    shown = [picture.name for picture in section.pictures if picture.on_page]
    assert shown == ["overlays_a0", "overlays_a1", "overlays_b0", "overlays_b1"]  # two of either model
    assert "overlays_a2, overlays_a3" in section.sentences[0]


def test_names_with_dollar_signs_are_names():
    cases = pd.DataFrame({"case": ["a"], "site": ["$x"], "model": ["$\\frac$"], "dice": [0.5], "lesion_ml": [1.0]})
    assert png(box_plots(cases, "dice"))
    assert png(size_scatter(cases))


def inside(figure):
    """No name in a figure is cut at its edges, and no axes are lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    written = [text for text in figure.findobj(Text) if any(map(str.isalpha, text.get_text()))]
    boxes = {text.get_text(): text.get_window_extent() for text in written}
    page = figure.bbox
    assert not [text for text, box in boxes.items() if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1]
    return figure


@pytest.mark.parametrize("letters", [30, 90])
def test_six_runs_with_long_names_are_readable(letters):
    names = [f"tiny3d {'a_long_folder_of_a_run' * 4}"[: letters - 2] + f"_{number}" for number in range(6)]
    rows = [
        case_row(f"c{case}", "1", 0.1 + 0.1 * number + 0.02 * case, run=name, lesion_ml=2.0 + case) | {"model": name}
        for number, name in enumerate(names)
        for case in range(4)
    ]
    cases = pd.DataFrame(rows)
    pairs = foremost(paired_differences(cases, "dice"), cases, "dice")
    boxes, scatter, pairwise, heat = map(
        inside,
        (
            box_plots(cases, "dice"),
            size_scatter(cases),
            difference_figure(pairs, "dice"),
            heatmap(np.full((6, 2), 0.5), names, ["atlas_v1", "isles2015_siss"], label="Dice"),
        ),
    )
    shown = [text.get_text().replace("\n", "").replace(" ", "") for text in boxes.legends[0].get_texts()]
    assert shown == [*(name.replace(" ", "") for name in names), "mean"], "no name is cut"
    for figure in (boxes, scatter, pairwise, heat):
        assert figure.axes[0].get_window_extent().width > 0.4 * figure.bbox.width
    sides = [text.get_window_extent() for text in pairwise.axes[0].texts]
    assert all(left.x1 < right.x0 for left, right in zip(sides[::2], sides[1::2], strict=True))
    labels = [label.get_window_extent() for label in pairwise.axes[0].get_yticklabels()]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(labels))
