"""Every table and figure of the five papers by name: what trains it, what makes it, how it stands given runs."""

import json
from collections import Counter
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf
from sweep_planning import Planning
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.configuration import compose, plain
from strokelab.configuration.multirun import MULTIRUN, read_multirun
from strokelab.contract import Case
from strokelab.errors import ConfigError, DataError
from strokelab.evaluation import KEYS
from strokelab.inference.derivative import Derivative
from strokelab.papers.command import Asked, items, make
from strokelab.papers.costs import costs_of
from strokelab.papers.standing import IMPOSSIBLE, MADE, MISSING, MODELS, PART, SCANS, KnownRun, table_state
from strokelab.papers.submission import lay_out
from strokelab.report.paper_figures import PaperFigure
from strokelab.report.paper_tables import PaperTable

ALL = items()
TABLES = {name: item for name, item in ALL.items() if isinstance(item, PaperTable)}
FIGURES = {name: item for name, item in ALL.items() if isinstance(item, PaperFigure)}
PARTS = frozenset({"standardizer", "adversary", "hemispheres"})
SWEEPS = {
    "sgnet_table3": (18, "ATLASv1"),
    "sgnet_table4": (2, "ATLASv1"),
    "sgnet_table6": (None, "ATLASv1"),  # the trainings of Table V
    "sgnet_table5": (None, "ATLASv1"),  # a row for each method, nine sites
    "sgnet_table7": (18, "ATLASv1"),
    "sgnet_figure4": (5, "ATLASv1"),
    "mapping_table1": (15, "ATLASv2"),
    "resunet3d_table2": (3, "ATLASv1"),
    "resunet3d_table4": (3, "ATLASv1"),
    "resunet3d_table5": (3, "ATLASv1"),
    "sunet_table1": (12, "ISLES2015"),
    "synthstroke_table1": (6, "ATLASv2"),
    "synthstroke_table3": (6, "ATLASv2"),
    "synthstroke_table4": (6, "ATLASv2"),
}


def a_run(name: str = "", *, parts=None, site=None, dataset="atlas_v1", fold=0, **unlike) -> KnownRun:
    settings = {"split": {"fold": fold}}
    return KnownRun(Path(name or "run"), name, settings, dataset, site, parts, (), unlike)


def test_every_table_and_figure_of_the_five_papers_has_a_name():
    assert len(TABLES) == 20
    papers = Counter(name.partition("_")[0] for name in FIGURES)
    assert papers == {"sgnet": 9, "mapping": 6, "sunet": 5, "resunet3d": 3, "synthstroke": 4}


def test_every_item_says_what_trains_it_or_why_it_is_not_made():
    for name, item in ALL.items():
        scans = isinstance(item, PaperFigure) and item.of_scans
        built = isinstance(item, PaperTable) or bool(item.made_by)
        assert item.sweep or item.train or item.impossible or scans or not built, name
    assert {item.sweep for item in ALL.values() if item.sweep} == SWEEPS.keys()


@pytest.mark.parametrize("sweep", SWEEPS)
def test_nothing_but_the_root_is_left_to_say_to_a_sweep(sweep, tmp_path):
    """Its first member composes on the paper's data, and the number of members is the paper's."""
    count, dataset = SWEEPS[sweep]
    planning = Planning(tmp_path / "s", f"sweep={sweep}", "data.root=here")
    (tmp_path / "s").mkdir(exist_ok=True)
    content = yaml.safe_load(OmegaConf.to_yaml(planning.config))
    (tmp_path / "s" / MULTIRUN).write_text(yaml.safe_dump(content))
    jobs = read_multirun(tmp_path / "s").jobs
    assert len(jobs) == count if count else len(jobs) % 9 == 0 < len(jobs)
    member = plain(compose("train", [f"{key}={value}" for key, value in jobs[0].overrides.items()]))
    assert member["data"]["root"] == "here"
    assert member["data"]["_target_"].endswith(f".{dataset}")


def test_the_members_of_a_sweep_have_folders_of_their_own(tmp_path):
    task = ["sweep=mapping_table1", "data.root=here"]
    planning = Planning(tmp_path, *task)
    schemes = ("mapping_default", "mapping_dtk10", "mapping_resunet")
    jobs = [";".join([*task, f"experiment={one}", f"split.fold={fold}"]) for one in schemes for fold in (0, 1)]
    names = [member.folder.name for member in planning.plan(*jobs)]
    assert names == [f"{name}-fold{k}-seed0" for name in ("nnunet", "nnunet_topk", "nnunet_residual") for k in (0, 1)]


@pytest.mark.parametrize("name", [name for name, item in ALL.items() if item.evaluate])
def test_the_settings_of_its_evaluation_compose(name):
    words = ALL[name].evaluate
    root = ["data.root=here"] if any(word.startswith("data=") for word in words) else []
    assert set(plain(compose("evaluate", ["runs=[a]", *words, *root]))) <= set(KEYS)


@pytest.mark.parametrize("name", [name for name, figure in FIGURES.items() if figure.made_by])
def test_the_function_that_makes_a_figure_is_there(name):
    module, _, function = FIGURES[name].made_by.rpartition(".")
    assert module.startswith("strokelab.report.")
    assert callable(getattr(import_module(module), function))


def test_a_table_stands_by_the_runs_of_its_rows_and_their_recipe():
    table = TABLES["sgnet_table3"]
    assert table_state(table, []).word == MISSING
    baseline = [a_run("unet", parts=frozenset(), site=f"Site{site}") for site in (1, 4, 5)]
    found = table_state(table, baseline)
    assert found.word == PART
    assert "Baseline" not in found.text
    assert "DA + SL + MAIN (site 1, 4, 5)" in found.text
    kinds = {row.parts for row in table.rows}
    everything = [a_run("x", parts=parts, site=f"site-0{site}") for parts in kinds for site in (1, 4, 5)]
    assert table_state(table, everything).word == MADE
    other = [a_run("x", parts=frozenset(), site="Site1", sgnet_table3=("length: max_epochs 5, not 50",))]
    assert table_state(table, other).word == MISSING  # of another recipe
    assert table_state(table, [a_run("x", parts=frozenset(), site="Site2")]).word == MISSING  # no site of the table


def test_rows_that_an_evaluation_makes_stand_by_the_runs_they_are_made_of():
    mapping = TABLES["mapping_table1"]
    schemes = [a_run(name, dataset="atlas_v2") for name in ("nnunet", "nnunet_topk", "nnunet_residual")]
    found = table_state(mapping, schemes)
    assert "Self-Training, Ensemble, Ensemble + PP" in found.text
    assert table_state(mapping, [*schemes, a_run("nnunet_selftraining", dataset="atlas_v2")]).word == MADE
    for name in ("resunet3d_table2", "resunet3d_table5"):  # snapshots, first stage, and their difference
        assert table_state(TABLES[name], [a_run("resunet3d")]).word == MADE
    outside = TABLES["synthstroke_table3"]  # trained on ATLAS, applied to ISLES
    assert table_state(outside, [a_run("synthstroke", dataset="atlas_v2")]).word == PART
    sunet = table_state(TABLES["sunet_table1"], [a_run("sunet", dataset="isles2015_siss")])
    assert "Proposed (dataset isles2015_spes)" in sunet.text


def test_the_list_names_all_with_states_and_commands():
    done = CliRunner().invoke(app, ["paper"])
    assert done.exit_code == 0, done.output
    for name, item in ALL.items():
        assert f"  {name}: " in done.output
        if name == "sgnet_table4":  # of models alone
            continue
        assert not item.sweep or f"python train.py -m sweep={item.sweep} data.root=DIR" in done.output
    for words in (MISSING, IMPOSSIBLE, SCANS, MODELS):
        assert words in done.output
    assert "47 tables and figures" in done.output


def test_costs_are_counted_without_runs_and_scores_say_what_trains_them(tmp_path):
    """Table IV is made of costs alone; of Table V the scores are left."""
    done = CliRunner().invoke(app, ["paper", "sgnet_table4", "--out", str(tmp_path / "four")])
    assert done.exit_code == 0, done.output
    assert "runs missing" not in done.output
    table = pd.read_csv(tmp_path / "four/tables/paper_sgnet_table4_costs.csv")
    printed, ours = (table.filter(regex=f"{whose}$").iloc[1].tolist() for whose in ("paper", "ours"))
    assert printed == ours == [132.11, 33.59, 33.61]
    assert table_state(TABLES["sgnet_table4"], []).word == MODELS
    found = table_state(TABLES["sgnet_table5"], [])
    assert (found.word, found.commands[0]) == (MISSING, "strokelab paper sgnet_table5")
    five = costs_of(TABLES["sgnet_table5"])
    assert [row[0].text for row in five.rows] == [row.method for row in TABLES["sgnet_table5"].rows]
    assert five.rows[0][2].number == pytest.approx(28.947521)


def test_json_is_the_list_the_files_or_the_error(tmp_path):
    def asked(*words):
        done = CliRunner().invoke(app, ["paper", "--json", *words])
        return done.exit_code, json.loads(done.stdout)

    status, content = asked()
    assert (status, content["schema"], len(content["items"])) == (0, "strokelab.paper/1", len(ALL))
    by_name = {item["name"]: item for item in content["items"]}
    assert by_name["sgnet_table3"]["state"] == MISSING
    assert by_name["sgnet_table3"]["commands"] == ["python train.py -m sweep=sgnet_table3 data.root=DIR"]
    assert by_name["sgnet_figure2"]["kind"] == "figure"
    status, content = asked("sgnet_table4", "--out", str(tmp_path))
    assert (status, content["name"]) == (0, "sgnet_table4")
    assert all(Path(file).is_file() for file in content["files"])
    status, content = asked("no_table")
    assert (status, content["ok"], content["error"]["found"]) == (1, False, "no_table")


def test_what_cannot_be_made_says_why():
    for name in ("sunet_table2", "sgnet_figure2", "synthstroke_figure3", "sgnet_table3", "no_table"):
        with pytest.raises(ConfigError) as caught:
            make(name, Asked(), None)
        assert caught.value.remedy
    assert "sgnet_table3" in _error("sgnet_table33").expected
    assert "public" in _error("sunet_table2").found
    assert "sweep=synthstroke_table3" in _error("synthstroke_figure3").remedy
    assert "sweep=sgnet_table3" in _error("sgnet_table3").remedy


def _error(name: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        make(name, Asked(), None)
    return caught.value


def test_a_table_and_its_figures_are_made_of_runs(trained_run, trained_unet, tmp_path):
    """The door's own evaluation with the table's settings; runs of another recipe meet no row and stand below."""
    typed = ["paper", "sgnet_table5", "--runs", str(trained_run), str(trained_unet), "--out", str(tmp_path)]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*typed, "overlays=shared"])
    assert done.exit_code == 0, done.output + str(done.exception)
    assert "Met by these runs: 0 of" in done.output
    assert "python train.py -m sweep=sgnet_table5 data.root=DIR" in done.output
    assert "ours: sgnet (other recipe)" in " ".join((tmp_path / "tables/paper_sgnet_table5.csv").read_text().split())
    for name in ("report.html", "tables/paper_sgnet_table5.csv", "tables/paper_sgnet_table5.tex"):
        assert f"Written: {tmp_path / name}" in done.output
    assert [path.name for path in (tmp_path / "tables").glob("paper_*.csv")] == ["paper_sgnet_table5.csv"]
    page = (tmp_path / "report.html").read_text()
    assert "SG-Net Table V" in page
    assert "SG-Net Table III" not in page
    assert (tmp_path / "tables/site_accuracy.csv").is_file()
    assert list((tmp_path / "tables").glob("main_factors_*.csv"))
    assert list((tmp_path / "figures").glob("before_and_after_*.png"))
    assert (tmp_path / "figures/methods.png").is_file()


def test_a_figure_of_scans_needs_no_run(t1_cohort, tmp_path):
    for name, picture in (("sgnet_figure9", "size_shares"), ("sgnet_figure1", "lesion_gallery")):
        typed = ["paper", name, f"data.root={t1_cohort}", "--out", str(tmp_path)]
        done = CliRunner().invoke(app, typed)
        assert done.exit_code == 0, done.output + str(done.exception)
        assert (tmp_path / "figures" / f"{name}_{picture}.png").stat().st_size > 0


def test_masks_are_laid_out_for_the_challenge(tmp_path):
    """One mask a scan under the challenge's names, in a folder and in a zip; a scan without a mask is named."""
    import zipfile

    import numpy as np

    from strokelab.contract import Prediction
    from strokelab.grid import Grid
    from strokelab.nifti import read_voxels, write_volume

    grid = Grid((4, 5, 6), np.eye(4))
    derivative = Derivative(tmp_path / "predictions", name="strokelab", provenance={"run": "x"})
    cases = []
    for number in (1, 2):
        case_id = f"sub-r001s00{number}_ses-1"
        image = tmp_path / f"{case_id}_space-MNI152NLin2009aSym_T1w.nii.gz"
        write_volume(image, np.zeros(grid.shape, np.float32), grid)
        cases.append(Case(case_id, case_id[:12], "atlas_v2", "R001", {"T1w": image}))
        mask = np.zeros(grid.shape, np.uint8)
        mask[number] = 1
        if number == 1:
            derivative.write(Prediction(case_id, grid, mask, None, {}), image=image, modality="T1w")
    derivative.finish()
    with pytest.raises(DataError) as caught:
        lay_out(cases, tmp_path / "predictions", tmp_path / "out")
    assert "sub-r001s002_ses-1" in caught.value.found
    written = lay_out(cases[:1], tmp_path / "predictions", tmp_path / "out")
    name = "sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_label-L_mask.nii.gz"
    assert zipfile.ZipFile(written.archive).namelist() == ["dataset_description.json", name]
    voxels, found = read_voxels(written.folder / name)
    assert (np.unique(voxels).tolist(), found.shape, written.masks) == ([0.0, 1.0], grid.shape, 1)
    assert voxels[1].all()
    assert yaml.safe_load((written.folder / "dataset_description.json").read_text())["Name"] == "atlas2_prediction"
