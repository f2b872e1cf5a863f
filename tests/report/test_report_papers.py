"""What the papers' figures need: panels of methods, lesion sizes, inputs, MAIN's factors, site accuracy."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_material import case_row, case_table, evaluation_of, scored_run

from strokelab.report.choice import cases_of_all
from strokelab.report.cohort_pictures import Scans, examples, lesion_gallery, shares, size_distribution, size_shares
from strokelab.report.grey_values import factor_table, grey_value_section
from strokelab.report.input_boxes import by_input, input_section, marks_of
from strokelab.report.intensities import Factors, SitePixels, grey_values
from strokelab.report.method_panels import class_colours, method_figure, method_section, shared_rows
from strokelab.report.terminal import page_table
from strokelab.report.training import accuracy_table


def rows(model: str, dices: dict[str, float], **columns) -> pd.DataFrame:
    table = case_table(*(case_row(case, "1", dice) for case, dice in dices.items()))
    return table.assign(model=model, run=f"{model}-0", **columns)


def test_all_models_are_shown_on_the_same_cases():
    """Means over models: a 0.85, b 0.5, c 0.45, d 0.15; e has no row of the second model."""
    first = rows("x", {"a": 0.9, "b": 0.5, "c": 0.4, "d": 0.1, "e": 0.0})
    second = rows("y", {"a": 0.8, "b": 0.5, "c": 0.5, "d": 0.2})
    chosen = cases_of_all(pd.concat([first, second]))
    assert {(label, case) for label, _, case in chosen} == {
        ("best", "a"),
        ("worst 3", "b"),
        ("median", "c"),
        ("worst", "d"),
    }
    assert sorted(run for label, run, _ in chosen if label == "best") == ["x-0", "y-0"]


def test_the_case_whose_lesions_are_joined_most_is_shown():
    dices = {name: 0.9 - 0.1 * place for place, name in enumerate("abcdefgh")}
    counts = {"truth_lesions_26": [1, 3, 5, 1, 1, 1, 1, 1], "prediction_lesions_26": [1, 1, 2, 1, 1, 1, 1, 1]}
    chosen = cases_of_all(rows("x", dices, **counts))
    assert ("joined", "x-0", "c") in chosen  # three too few
    even = {"truth_lesions_26": 1, "prediction_lesions_26": 1}
    assert "joined" not in {label for label, *_ in cases_of_all(rows("x", dices, **even))}


def test_panels_have_a_row_per_case_and_a_column_per_method(overlay):
    worst = dataclasses.replace(overlay, label="worst", case="w")
    runs = [dataclasses.replace(scored_run(name, [0.5]), shared_overlays=(overlay, worst)) for name in ("u", "s")]
    found = shared_rows(evaluation_of(*runs))
    assert {label: list(row) for label, row in found.items()} == {"best": ["u", "s"], "worst": ["u", "s"]}
    figure = method_figure(found, ["u", "s", "absent"])
    assert len(figure.axes) == 2 * (2 + 3)
    assert [len(axes.images) > 0 for axes in figure.axes[:5]] == [True, True, True, True, False]
    assert figure.axes[2].get_title() == "u\nDice 0.90"
    long = method_figure({"best": {"mapping_ensemble + PP": overlay}}, ["mapping_ensemble + PP"])
    long.draw_without_rendering()
    assert max(axes.title.get_window_extent().x1 for axes in long.axes) <= long.bbox.x1
    section = method_section(evaluation_of(*runs))
    assert [picture.name for picture in section.pictures] == ["methods", "failures"]
    assert "overlays=shared" in method_section(evaluation_of(scored_run("u", [0.5]))).sentences[0]


def test_classes_are_painted_by_name_where_a_model_has_them(overlay):
    """The panel of a network with named classes shows them in place of right and wrong voxels."""
    labels = np.zeros(overlay.image.shape, np.uint8)
    labels[2:4], labels[4:6] = 1, 2
    classed = dataclasses.replace(overlay, labels=labels, class_names=("background", "GM", "lesion"))
    colours = class_colours(classed)
    assert list(colours) == ["GM", "lesion"]
    assert class_colours(overlay) == {}
    runs = [dataclasses.replace(scored_run("u", [0.5]), shared_overlays=(overlay,))]
    runs.append(dataclasses.replace(scored_run("s", [0.5]), shared_overlays=(classed,)))
    figure = method_figure(shared_rows(evaluation_of(*runs)), ["u", "s"])
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["true positive", "false positive", "false negative", "GM", "lesion"]
    alone = method_figure(shared_rows(evaluation_of(runs[1])), ["s"])
    assert [text.get_text() for text in alone.legends[0].get_texts()] == ["GM", "lesion"]


def scans(overlays=()) -> Scans:
    sizes = [0, 10, 999, 1000, 5000, 5001, 90000, 20]
    table = pd.DataFrame({"case": [f"c{k}" for k in range(8)], "site": list("11112222"), "mm3": sizes, "lesions": 1})
    return Scans("atlas_v1", True, (), table, overlays)


def test_lesions_are_small_medium_or_large_by_the_papers_bounds():
    table = shares(scans().lesions)
    assert table.loc["1"].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 3])  # the scan without a lesion is left out
    assert table.loc["2"].tolist() == pytest.approx([1 / 4, 1 / 4, 2 / 4, 4])
    picture = size_shares(scans()).pictures[0]
    assert "1 scans without a lesion are left out" in picture.caption
    assert "71 % of the scans have at most 5000" in size_distribution(scans()).pictures[0].alt  # 5 of 7


def test_the_gallery_shows_small_and_large_lesions(overlay):
    chosen = examples(scans().lesions)
    assert chosen == [
        ("small", "c1"),
        ("small", "c7"),
        ("small", "c2"),
        ("large", "c3"),
        ("large", "c5"),
        ("large", "c6"),
    ]
    shown = tuple(dataclasses.replace(overlay, label=label, case=case) for label, case in chosen)
    assert "small c1" in lesion_gallery(scans(shown)).pictures[0].alt


def test_inputs_have_boxes_and_the_mark_of_their_test():
    dice = np.linspace(0.1, 0.6, 8)
    runs = [scored_run(name, list(dice + shift), modality="T1") for name, shift in (("a", 0.0), ("b", 0.2))]
    section = input_section(evaluation_of(*runs))
    assert {"dice_by_input", "lesion_f1_by_input"} == {picture.name for picture in section.pictures}
    cases = by_input(evaluation_of(*runs).cases)
    assert marks_of(cases, "dice") == {"T1": "**"}  # eight pairs, all of one sign: p = 2 / 256
    named = [
        dataclasses.replace(run, model=f"{run.model} T1", published="m" if run.name == "a" else "") for run in runs
    ]
    assert "for b T1 and m" in input_section(evaluation_of(*named[::-1])).pictures[0].alt  # as the papers call it
    two = cases.assign(dataset=["isles2022"] * 8 + ["isles2015_siss"] * 8)
    assert set(by_input(two)["site"]) == {"isles2022 T1", "isles2015_siss T1"}
    alone = by_input(evaluation_of(scored_run("a", list(dice))).cases)
    assert alone["site"].unique().tolist() == ["as trained"]
    assert marks_of(alone, "dice") == {}


def test_factors_of_main_are_means_over_the_scans_of_a_site():
    brain = np.ones((6, 4), bool)
    pixels = np.random.default_rng(0).normal(size=(3, 6, 4))
    factors = [("1", 0.2, 0.1), ("1", 0.4, 0.1), ("2", 0.5, 0.3)]
    values = grey_values(
        SitePixels(site, z, z * scale + shift, brain, (scale,), (shift,))
        for (site, scale, shift), z in zip(factors, pixels, strict=True)
    )
    assert [example.site for example in values.examples] == ["1", "2"]
    first, second = values.factors
    assert (first.site, first.scans, first.scale[0]) == ("1", 2, pytest.approx(0.3))
    assert first.scale[1] == pytest.approx(0.02**0.5)
    assert np.isnan(second.scale[1])
    table = factor_table("run", values.factors)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["1", "2", "0.3000 ± 0.1414", "0.1000 ± 0.0000"],
        ["2", "1", "0.5000", "0.3000"],
    ]
    two = (Factors("1", 0, 1, (1.0, 0.0), (0.0, 0.0)), Factors("1", 1, 1, (2.0, 0.0), (0.0, 0.0)))
    assert factor_table("run", two).header[1] == "Channel"
    run = dataclasses.replace(scored_run("s", [0.5]), grey_values=values)
    section = grey_value_section(evaluation_of(run))
    assert [picture.name for picture in section.pictures] == ["grey_values_s", "before_and_after_s"]
    assert section.tables[0].name == "main_factors_s"


def test_site_accuracy_is_that_of_the_last_epoch_over_repeats(history):
    runs = [
        dataclasses.replace(
            scored_run("s", [0.5], name=f"s{k}", seed=k),
            history=history.assign(**{"site/accuracy": history["site/accuracy"] + k / 10}),
            training_scans={"1": 30, "2": 10},
        )
        for k in range(2)
    ]
    table = accuracy_table([*runs, scored_run("u", [0.5])])
    assert table is not None
    cells = [cell.text for cell in table.rows[0]]
    assert len(table.rows) == 1
    assert cells == ["s", "2", "0.300 ± 0.071", "0.230", "0.125", "0.750"]  # 0.25 and 0.35
    assert accuracy_table([scored_run("u", [0.5])]) is None


def test_ours_stands_under_the_papers_number_in_the_terminal(evaluation):
    from strokelab.report.comparison import paper_comparisons

    page = next(table for table in paper_comparisons(evaluation) if "Dice, paper" in table.header)
    shown = page_table(page)
    headings = [str(column.header) for column in shown.columns]
    assert "Dice\n[bold]ours[/]" in headings
    assert len(headings) < len(page.header)
    assert shown.row_count == len(page.rows)
