import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_material import case_row, case_table

from strokelab.errors import DataError
from strokelab.report.html import assemble, write_report
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.pictures import Section


class Page(HTMLParser):
    """Tables as lists of rows of text, every attribute, every element."""

    def __init__(self, text: str):
        super().__init__()
        self.tables, self.attributes, self.elements, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.tables and self.tables[-1] and self.tables[-1][-1] and data.strip():
            self.tables[-1][-1][-1] += data.strip()


@pytest.fixture(scope="session")
def written(evaluation, tmp_path_factory) -> Path:
    """A report written once; read only."""
    return write_report(evaluation, tmp_path_factory.mktemp("report") / "new" / "folder")


@pytest.fixture
def page(written) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_one_file_that_opens_offline(page):
    loading = [value for tag, name, value in page.attributes if name in ("src", "srcset", "data", "poster")]
    assert len(loading) > 8
    assert all(value.startswith(("data:image/png;base64,", "data:image/webp;base64,")) for value in loading)
    links = [value for _, name, value in page.attributes if name in ("href", "action", "xlink:href")]
    assert links
    assert all(value.startswith("#") for value in links)
    assert "link" not in page.elements
    assert "iframe" not in page.elements


def test_no_address_in_the_source(written):
    source = written.read_text(encoding="utf-8")
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", source)
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\(", without_images)


def test_links_in_the_page_have_targets(page):
    targets = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= targets


def test_headline_numbers(page):
    header, unet, sgnet = page.tables[0]
    assert unet[: header.index("Dice\u00a0↑") + 1] == ["unet2d", "1", "3", "0.500 ± 0.250"]
    assert sgnet[header.index("Dice\u00a0↑")] == "0.650 ± 0.071"
    assert sgnet[header.index("Cases")] == "3 (1 failed)"
    assert unet[header.index("HD95 (mm)\u00a0↓")] == "0.5 ± 0.0 (1 inf)"
    assert unet[-1] == "0.500"  # one site: no SD over sites


def test_case_table_holds_every_row_in_natural_order(page, evaluation):
    (table,) = [table for table in page.tables if table[0][:2] == ["Case", "Run"]]
    header, *rows = table
    assert [row[0] for row in rows] == ["a1", "a1", "a2", "a2", "a10", "a10"]
    dice = header.index("Dice\u00a0↑")
    shown = {(row[0], row[1]): row[dice] for row in rows}
    for row in evaluation.cases.itertuples():
        assert shown[row.case, row.run] == ("–" if np.isnan(row.dice) else f"{row.dice:.3f}")
    assert shown["a10", "sgnet-0"] == "–"
    assert "truncated file" in {row[-1] for row in rows}
    assert "∞" in rows[3][header.index("HD95 (mm)\u00a0↓")]


def test_paper_numbers_beside_ours_and_the_warning(page):
    (table,) = [table for table in page.tables if "Dice, paper" in table[0] and "Site" not in table[0]]
    header, *rows = table
    row = {row[0]: row for row in rows}
    assert row["SG-Net"][header.index("Dice, paper")] == "0.5711 ± 0.1957"
    assert row["SG-Net"][header.index("Dice, ours")] == "0.6500"
    assert row["X-Net"][header.index("Dice, ours")] == "–"
    assert "Not comparable." in page.text
    assert "voxel spacing: 4 mm" in page.text
    assert "not blind" in page.text


def test_real_data_carry_no_phantom_warning(evaluation, tmp_path):
    real = dataclasses.replace(evaluation, phantom=False, dataset="atlas_v1")
    text = write_report(real, tmp_path).read_text(encoding="utf-8")
    assert "Phantom data." not in text
    assert "0.5711 ± 0.1957" in text


def test_foreign_text_is_text(evaluation, tmp_path):
    evil = '<script>alert("x")</script>&"\'><img src=http://x>'
    run = dataclasses.replace(
        evaluation.runs[0], name=evil, folder=evil, cases=case_table(case_row(evil, evil, 0.5, error=evil))
    )
    named = dataclasses.replace(evaluation, title=evil, runs=(run, evaluation.runs[1]), command=evil, dataset=evil)
    source = write_report(named, tmp_path).read_text(encoding="utf-8")
    page = Page(source)
    assert page.elements.count("script") == 1
    assert all(value.startswith("data:") for tag, name, value in page.attributes if name == "src")
    assert "alert" not in source[source.index("<script>") :]
    assert evil in page.text
    assert all(path.parent == tmp_path / "figures" for path in (tmp_path / "figures").rglob("*"))


def test_files_beside_the_page(written):
    folder = written.parent
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"dice_by_site.png", "loss.png", "site_accuracy.png", "dice_by_size.png"} <= figures
    assert {"grey_values_sgnet-0.png", "overlays_sgnet-0.png"} <= figures
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert all((folder / "figures" / name).read_bytes()[:4] == starts[name[-4:]] for name in figures)
    drawn = {kind: {name[:-4] for name in figures if name.endswith(kind)} for kind in starts}
    assert drawn[".png"] == drawn[".pdf"]
    summary = pd.read_csv(folder / "summary.csv")
    assert set(summary.loc[summary["level"] == "model", "model"]) == {"unet2d", "sgnet"}
    assert {"results.csv", "results.tex", "comparisons.csv"} <= {path.name for path in (folder / "tables").iterdir()}
    assert {path.name for path in folder.iterdir()} == {
        *("report.html", "summary.csv", "figures", "tables", ".report-files.json"),
    }


def test_a_bare_run_says_why_sections_are_empty(tmp_path):
    run = RunMaterial(name="r", model="m", dataset="folder", cases=case_table(case_row("a", None, 0.5)))
    text = Page(write_report(Evaluation("t", "folder", (run,)), tmp_path).read_text(encoding="utf-8")).text
    for reason in ("No training log", "No run standardises its input", "No overlays"):
        assert reason in text
    assert "Beside the paper" not in text


def test_all_cases_failed_is_still_a_report(tmp_path):
    cases = pd.DataFrame({"run": "r", "case": ["a", "b"], "subject": "s", "site": "1", "error": "no mask"})
    text = Page(write_report(Evaluation("t", "d", (RunMaterial("r", "m", "d", cases),)), tmp_path).read_text()).text
    assert "2 rows could not be scored" in text
    assert "No case could be scored" in text
    assert "no mask" in text


def test_units_follow_the_profile(evaluation, tmp_path):
    atlas = dataclasses.replace(evaluation, profile="atlas")
    assert "Volume difference (voxels)" in write_report(atlas, tmp_path).read_text(encoding="utf-8")


def test_models_on_different_cases_are_told(evaluation, written, tmp_path):
    one, two = evaluation.runs
    fewer = dataclasses.replace(evaluation, runs=(one, dataclasses.replace(two, cases=two.cases[:1])))
    assert "not evaluated on the same cases" in write_report(fewer, tmp_path).read_text(encoding="utf-8")
    assert "not evaluated on the same cases" not in written.read_text(encoding="utf-8")


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(DataError, match="without a single case"):
        write_report(Evaluation("t", "d", ()), tmp_path)


def test_an_unwritable_folder_is_an_error(evaluation, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file"):
        write_report(evaluation, tmp_path / "file")


def test_every_figure_lies_beside_the_page_twice(full_report):
    figures = full_report.parent / "figures"
    names = {path.stem for path in figures.iterdir()}
    assert {"paired_differences", "dice_by_threshold", "calibration", "overlays_unet-0"} <= names
    for name in names:
        assert (figures / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (figures / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
    assert (full_report.parent / "tables" / "members_missing.csv").is_file()


def test_the_full_page_is_one_file_that_describes_its_pictures(full_report):
    page = Page(full_report.read_text(encoding="utf-8"))
    sources = [value for _, name, value in page.attributes if name == "src"]
    assert all(value.startswith(("data:image/png;base64,", "data:image/webp;base64,")) for value in sources)
    alts = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    assert len(alts) == page.elements.count("img") == len(sources)
    assert all(len(alt) > 20 for alt in alts)
    targets = [value for _, name, value in page.attributes if name == "id"]
    assert len(set(targets)) == len(targets)
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= set(targets)


def test_members_without_a_result_are_a_warning_near_the_top(full_report, written):
    source = full_report.read_text(encoding="utf-8")
    warning = source.index("Incomplete sweep.")
    assert warning < source.index("<nav")
    assert "1 of 3 members of the sweep have no result" in source
    assert "DataError: no mask" in source[warning : source.index("<nav")]
    assert "Incomplete sweep." not in written.read_text(encoding="utf-8")


def test_the_viewer_has_its_data_and_is_absent_without_worst_cases(full_report, written):
    source = full_report.read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="viewer-data">(.*?)</script>', source, re.DOTALL)
    assert [case["title"] for case in json.loads(data[1])] == [
        f"{name}, Dice 0.900" for name in ("unet-0: a2", "sgnet-0: a1", "sgnet-0: a2")
    ]
    assert 'id="viewer"' not in written.read_text(encoding="utf-8")


def test_tables_and_pictures_of_a_subject_share_a_heading():
    chapters = [("cases", "Every case", (), []), ("results", "Results", ("said",), []), ("extra", "More", (), [])]
    pictures = [Section("results", "other title", sentences=("shown",)), Section("thresholds", "Thresholds")]
    found = assemble(chapters, pictures)
    assert [section.anchor for section in found] == ["results", "thresholds", "cases", "extra"]
    assert (found[0].title, found[0].sentences) == ("Results", ("said", "shown"))


def test_the_same_evaluation_gives_the_same_bytes(full_evaluation, full_report, tmp_path):
    again = write_report(full_evaluation, tmp_path)
    first = {path.relative_to(full_report.parent): path for path in full_report.parent.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == set(first)
    assert all((again.parent / name).read_bytes() == path.read_bytes() for name, path in first.items())


def masks(evaluation):
    """The same numbers as of masks without a run."""
    keep = ("name", "model", "dataset", "cases")
    runs = tuple(
        RunMaterial(**{name: getattr(run, name) for name in keep}, trained=False) for run in evaluation.runs[:1]
    )
    return dataclasses.replace(evaluation, runs=runs, members=())


def test_masks_without_a_run_say_nothing_about_a_training_and_old_pictures_of_one_go(evaluation, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/loss.png").write_bytes(b"of an earlier report")
    (tmp_path / "figures/mine.png").write_bytes(b"mine")
    note = tmp_path / ".report-files.json"
    note.write_text(json.dumps({"files": ["figures/loss.png"]}))
    text = write_report(masks(evaluation), tmp_path).read_text()
    assert not (tmp_path / "figures/loss.png").exists()
    every = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*/*") if path.is_file()}
    assert every - {"figures/mine.png"} == set(json.loads(note.read_text())["files"])
    found = Page(text)
    headings = re.findall(r"<h2[^>]*>([^<]*)", text)
    assert "Results" in headings
    assert not {"Training", "Grey values per site", "Runs"} & set(headings)
    assert not any(value == "#runs" for _, _, value in found.attributes)
    assert not (tmp_path / "tables/runs.csv").exists()
