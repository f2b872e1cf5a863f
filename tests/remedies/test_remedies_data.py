"""Remedies about cohorts, pseudo-labels, stores and new scans, followed on small files."""

import csv
import json
import re
import shlex
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from doing import executes, mended, options, said, settings, strokelab, told
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.command_words import setting
from strokelab.configuration import build
from strokelab.configuration.overriding import override, typed_value
from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.data.new_scans import find_scans
from strokelab.data.several import members_of
from strokelab.data.sources import COHORT, Sourced, training_samples
from strokelab.data.split_file import Split
from strokelab.files import file_digest
from strokelab.grid import Grid
from strokelab.nifti import write_volume
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.slices import Slices

GRID = Grid.of((6, 6, 6), np.eye(4))


def touched(root: Path, *names: str) -> Path:
    """Files of which only the names count: readers open none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(root: Path, *words: str) -> list[Case]:
    """The cohort that these settings of ``train.py`` read; only the first is of a group."""
    data = override(settings(words[0]), words[1:])["data"]
    chosen = {name: value for name, value in data["options"].items() if value is not None}
    return read_cases(words[0].removeprefix("data="), root, **chosen)


NATIVE = [f"c0002/c0002s0001t01/c0002s0001t01{name}.nii" for name in ("", "_LesionSmooth")]
STANDARD = [f"c0002/c0002s0001t01/c0002s0001t01_{name}_stx.nii" for name in ("t1w", "LesionSmooth")]
SCAN = "sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym"
TRAINED = [f"Training/R001/{SCAN}_{name}.nii" for name in ("T1w", "label-L_desc-T1lesion_mask")]
SISS = [f"1/VSD.Brain.XX.O.MR_{name}.1.nii" for name in ("DWI", "Flair", "T1", "T2")]
ISLES = [f"sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_{name}.nii" for name in ("dwi", "adc", "flair")]


@executes("strokelab/data/readers/atlas_v1.py:read", "strokelab/data/readers/atlas_v1.py:build")
@executes("strokelab/data/readers/atlas_v2.py:read", "strokelab/data/readers/atlas_v2.py:build")
@executes("strokelab/data/readers/_isles2015.py:read_scans", "strokelab/data/readers/_isles2015.py:label_file")
@executes("strokelab/data/readers/isles2022.py:build")
@pytest.mark.parametrize(
    ("words", "files", "moved"),
    [
        (["data=atlas_v1"], NATIVE, None),
        (["data=atlas_v1", "data.options.space=native"], STANDARD, None),
        (["data=atlas_v1"], ["Site1/031768/t01/031768_t1w_deface_stx.nii"], None),
        (["data=atlas_v2"], [f"Testing/R001/{SCAN}_T1w.nii"], None),
        (["data=atlas_v2", "data.options.subset=testing"], TRAINED, None),
        (["data=atlas_v2"], [f"R001/{SCAN}_T1w.nii"], None),
        (["data=atlas_v2"], [f"Training/R001/{SCAN}_T1w.nii"], "Training"),
        (["data=isles2015_siss"], [f"Testing/{name}" for name in SISS], None),
        (["data=isles2015_siss"], SISS, None),
        (["data=isles2015_siss"], [f"Training/{name}" for name in SISS], "Training"),
        (["data=isles2022"], ISLES, None),
    ],
)
def test_options_of_readers(words, files, moved, tmp_path):
    touched(tmp_path, *files)
    (word,) = told(said(read, tmp_path, *words).remedy)
    if moved:
        (tmp_path / moved).rename(tmp_path / "Testing")
    first, *others = words
    kept = [other for other in others if other.partition("=")[0] != word.partition("=")[0]]
    assert read(tmp_path, first, *kept, word)


@executes("strokelab/data/readers/__init__.py:read", "strokelab/data/readers/__init__.py:_first")
def test_another_dataset_and_more_problems(t1_cohort, tmp_path):
    remedy = said(read_cases, "atlas_v2", t1_cohort).remedy
    name = remedy.partition("--dataset ")[2].partition(")")[0]
    strokelab("check", t1_cohort, "--dataset", name)
    assert read(t1_cohort, told(remedy)[0])
    scans = [f"Site1/03176{number}/t01/03176{number}_t1w_deface_stx.nii" for number in (1, 2)]
    assert "'strokelab check' lists them all" in said(read, touched(tmp_path, *scans), "data=atlas_v1").remedy
    listed = strokelab("check", tmp_path, status=1)
    assert "031761_t01" in listed
    assert "031762_t01" in listed


@executes("strokelab/data/readers/__init__.py:_nothing")
def test_a_table_of_files_that_no_reader_knows(t1_cohort, tmp_path):
    rows = ["case,subject,site,label,T1w"]
    for case in read_cases("atlas_v1", t1_cohort)[:2]:
        image, label = (tmp_path / f"{case.case_id}-{kind}.nii.gz" for kind in ("a", "b"))
        shutil.copy(case.images["T1w"], image)
        shutil.copy(case.lesions[0].path, label)
        rows.append(f"{case.case_id},{case.subject_id},{case.site},{label.name},{image.name}")
    remedy = said(read_cases, "atlas_v2", tmp_path).remedy
    table = tmp_path / "FILE.csv"
    table.write_text("\n".join(rows))
    command = shlex.split(remedy.partition("give it: ")[2].partition(";")[0])
    assert command[0] == "strokelab"
    strokelab(*(table if word == "FILE.csv" else word for word in command[1:]))


@executes("strokelab/data/readers/_tree.py:as_id", "strokelab/data/readers/_tree.py:lesion_file")
def test_ids_of_digits_and_values_of_labels():
    from strokelab.data.readers._tree import as_id, lesion_file

    for name, given in (("007", 7), ("2.10", 2.1)):
        for key in ("exclude", "only_sites"):
            (word,) = told(said(as_id, given, [name], f"data.{key}").remedy)
            (quoted,) = override(settings("data=atlas_v1"), [word])["data"][key]
            assert as_id(quoted, [name], f"data.{key}") == name

    def check(settings):
        lesion_file(Path("x.nii"), 0.5, settings["data"]["options"]["values"])

    base = settings("data=atlas_v1")
    (word,) = told(said(check, override(base, ["data.options.values=[0]"])).remedy)
    check(override(base, [word]))


@executes("strokelab/nifti/lesions.py:_several_labels")
def test_labels_of_a_mask(t1_cohort, tmp_path):
    from strokelab.nifti import read_voxels
    from strokelab.nifti.lesions import binarize
    from strokelab.scoreboard.masks import MaskRule, labels_of, read_mask

    folder = shutil.copytree(t1_cohort / "Site1", tmp_path / "cohort" / "Site1").parent
    case = read(folder, "data=atlas_v1")[0]
    voxels, grid = read_voxels(case.lesions[0].path)
    labels = (voxels > 0).astype(np.uint8)
    labels[tuple(np.argwhere(labels)[0])] = 2
    write_volume(case.lesions[0].path, labels, grid)
    remedy = said(binarize, labels.astype(np.float32), case.lesions[0]).remedy
    word = told(remedy)[0]
    same = read(folder, "data=atlas_v1", word)[0].lesions[0]
    assert np.array_equal(binarize(labels.astype(np.float32), same), labels > 0)
    typed = shlex.split(remedy.partition("train.py, ")[2])
    values = typed[typed.index("--values") + 1]
    assert "several labels" in strokelab("check", folder, "--dataset", "atlas_v1", status=1)
    assert "several labels" not in strokelab("check", folder, "--dataset", "atlas_v1", "--values", values)
    assert set(options(remedy)) == {"--values", "--reference-labels"}
    said(read_mask, [case.lesions[0].path], MaskRule())
    chosen = labels_of(typed[typed.index("--reference-labels") + 1])
    assert np.array_equal(read_mask([case.lesions[0].path], MaskRule(labels=chosen)).mask, labels > 0)


def pseudo_labels(root: Path, folds: dict[str, list[str]]) -> Path:
    """A folder as ``strokelab self-train`` writes it, with a mask of case x: label set -> what its teachers saw."""
    rows = []
    for fold in folds:
        mask = root / fold / "x.nii.gz"
        mask.parent.mkdir(parents=True)
        write_volume(mask, np.zeros(GRID.shape, np.uint8), GRID)
        rows.append([fold, "x", f"{fold}/x.nii.gz", 0, 0, file_digest(mask)])
    with (root / "labels.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["fold", "case_id", "mask", "voxels", "volume_ml", "digest"], *rows])
    content = {fold: {"runs": ["r"], "seen": seen, "persons": seen} for fold, seen in folds.items()}
    (root / "teachers.json").write_text(json.dumps({"folds": content}))
    return root


@executes("strokelab/data/pseudo.py:_none_for", "strokelab/data/pseudo.py:_damaged")
@executes("strokelab/sampling/boxes.py:check_unweighted")
def test_pseudo_labels(tmp_path):
    from strokelab.sampling.boxes import Drawing

    split = Split(("a",), (), ("b",), {name: (name, "R001") for name in "ab"})
    base = settings("experiment=mapping_selftraining")

    def check(root, *words, on=split):
        build(override(base, [setting("data.pseudo.root", root), *words])["data"]["pseudo"]).chosen(on)

    one = pseudo_labels(tmp_path / "one", {"fold0": ["a"]})
    check(one, *told(said(check, one, "data.pseudo.per_fold=false").remedy))
    every = pseudo_labels(tmp_path / "every", {"all": ["a", "b"]})
    remedy = said(check, every).remedy
    check(every, *told(remedy))
    said(check, one, on=replace(split, train=("b",), test=("a",)))
    assert all(key in remedy for key in ("split,", "split.fold", "split.seed"))
    check(one)  # with the split of the models, which tests on what they have not seen
    (word,) = told(said(check, tmp_path).remedy)
    check(tmp_path, word.replace("DIR", str(one)))

    cases = [
        SimpleNamespace(case_id=name, grid=Grid.of((4, 4, 1), np.eye(4)), brain_voxels_per_slice=(9,)) for name in "ax"
    ]

    def serve(word):
        weight = override(base, [word])["data"]["pseudo"]["weight"]
        Slices(min_brain_pixels=1).places(cases, Drawing("train", 0, 1, [1.0, weight]))

    alike, at_random = told(said(serve, "data.pseudo.weight=2").remedy)
    serve(alike)
    assert settings(at_random)["view"]["sampler"]["_target_"].endswith(".ForegroundPatches")


def test_weights_of_datasets_with_a_view_that_takes_every_slice():
    """The error names what gave the weights, and its remedy serves."""
    cases = [
        SimpleNamespace(case_id=name, grid=Grid.of((4, 4, 1), np.eye(4)), brain_voxels_per_slice=(9,), maps={})
        for name in "ab"
    ]
    view = SimpleNamespace(
        sampler=Slices(min_brain_pixels=1),
        preparation=SimpleNamespace(channels=("T1w",)),
        any_contrast=False,
        augment=None,
        classes=(),
        order_of=lambda part: None,
    )

    def serve(name, *weights):
        sources = [Sourced(name, [case], view, weight) for case, weight in zip(cases, weights, strict=True)]
        training_samples([replace(sources[0], name=COHORT), sources[1]], None, batch_size=1, sites={}, seed=0)

    assert {name: said(serve, name, 1, 3).where for name in (COHORT, "pseudo", "mine")} == {
        COHORT: "data.datasets",
        "pseudo": "data.pseudo.weight",
        "mine": "data.sources.mine.weight",
    }
    (at_random,) = told(said(serve, COHORT, 1, 3).remedy)
    assert settings(at_random, "data=several", "data.datasets=[atlas_v1,isles2022]", "data.modalities=[T1w]")


@executes("strokelab/data/cohort_checks.py:curve_cases", "strokelab/data/worker_count.py:fitting_workers")
@executes("strokelab/data/datamodule.py:training", "strokelab/data/lost_worker.py:shared")
def test_settings_of_the_data_module(monkeypatch, t1_cohort):
    from strokelab.data.cohort_checks import curve_cases
    from strokelab.data.datamodule import CohortDataModule
    from strokelab.data.lost_worker import shared
    from strokelab.data.worker_count import fitting_workers

    split = Split(("a",), (), ("b",), {})
    base = settings("model=nnunet")
    for key, wrong, check in (
        ("curves", "tset", lambda value: curve_cases(split, [], value)),
        ("workers", "-1", lambda value: fitting_workers(value, 1)),
    ):
        (word,) = told(said(check, override(base, [f"data.{key}={wrong}"])["data"][key]).remedy)
        check(override(base, [word])["data"][key])

    view = build(settings("data=atlas_v1")["view"])
    module = CohortDataModule("atlas_v1", t1_cohort, ["T1w"], view, None)
    (word,) = told(said(lambda: module.split_result).remedy)
    module.split = build(settings("data=atlas_v1", word)["split"])
    assert module.split_result.test

    def full(tensor):
        raise RuntimeError("unable to write to file </torch_1>: No space left on device")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    remedy = said(shared, {"image": torch.zeros(1)}).remedy
    assert "data.workers lower or to 0" in remedy
    assert fitting_workers(0, 1) == (0, None)  # none, and nothing is shared


@executes("strokelab/preparation/store.py:_unwritable", "strokelab/preparation/store.py:default_store")
@executes("strokelab/planning/fingerprint.py:fingerprint")
def test_stores_elsewhere(t1_cohort, tmp_path, monkeypatch):
    from strokelab.planning.fingerprint import fingerprint
    from strokelab.preparation import digests, store

    monkeypatch.setattr(digests, "SETTLED_SECONDS", 0.0)  # the cohort may be a second old
    cases = read_cases("atlas_v1", t1_cohort)[:1]
    preparation = Preparation(("T1w",))
    (bad := tmp_path / "bad").mkdir()
    (good := tmp_path / "good").mkdir()
    (tmp_path / "bad/digests").touch()  # a file where a folder goes
    (tmp_path / "bad/boxes").touch()

    def follow(remedy: str) -> None:
        """Put the store where the setting says, and where the variable says."""
        (word,) = told(remedy)
        place = override(settings(), [word.replace("DIR", str(good))])["data"]["store"]
        store.PreparedStore(Path(place)).prepare(cases, preparation)
        fingerprint(cases, preparation, store=Path(place))
        for variable in re.findall(r"STROKELAB_STORE=[^ ,]+", remedy):
            name, _, place = variable.partition("=")
            with monkeypatch.context() as patch:
                patch.setenv(name, place)
                assert store.default_store() == Path(place)

    follow(said(store.PreparedStore(bad).prepare, cases, preparation).remedy)
    follow(said(fingerprint, cases, preparation, store=bad).remedy)
    monkeypatch.delenv("STROKELAB_STORE")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "expanduser", homeless)
        remedy = said(store.default_store).remedy
    assert "export STROKELAB_STORE=" in remedy
    follow(remedy)


def homeless(path: Path):
    raise RuntimeError("Could not determine home directory.")


@executes("strokelab/phantoms/cohort.py:_reusable")
@pytest.mark.parametrize("name", ["cohort", "a b[1]"])
def test_another_place_for_phantoms(name, tmp_path, monkeypatch):
    from strokelab.phantoms.cohort import write_cohort

    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    make = partial(write_cohort, "atlas_v1", spacing=10.0, sites=1, cases_per_site=1, progress=False)
    root = make(tmp_path / name / "phantoms", seed=1)
    remedy = said(make, root, seed=2).remedy
    words = shlex.split(remedy.partition("folder: ")[2].replace(" (train.py),", "").replace(" (strokelab", " ;"))
    free = Path(override(settings("data=atlas_v1"), words[:1])["data"]["root"])
    assert free.resolve() == Path(words[words.index("--out") + 1]).resolve()
    assert make(Path(typed_value([words[0]], "data.root")), seed=2).is_dir()
    shutil.rmtree(root)
    make(root, seed=2)


@executes("strokelab/planning/stages.py:largest")
def test_widths_that_halve():
    from strokelab.planning import Fingerprint, Planner

    shape = np.tile((197, 233, 189), (9, 1))
    seen = Fingerprint(np.ones((9, 3)), shape, shape)

    def plan(settings):
        crop = settings["view"]["preparation"]["crop"]
        Planner().plan(seen, Preparation(("T1w",), crop=crop), hemispheres=True)

    mended(plan, ["model=nnunet", "hemispheres=split", "view.preparation.crop=[194,null,null]"])


def test_a_phantom_of_nothing(tmp_path):
    said = " ".join(CliRunner().invoke(app, ["phantom"], env={"COLUMNS": "300"}).output.split())
    words = shlex.split(said.partition("e.g. strokelab ")[2].partition(" │")[0])
    few = ["--sites", "1", "--cases-per-site", "1", "--spacing", "8", "--out", str(tmp_path / "cohort")]
    done = CliRunner().invoke(app, [*words, *few])
    assert done.exit_code == 0, done.output
    assert "scans: 1, sites: 1" in done.output


@executes("strokelab/data/new_scans.py:_check_given", "strokelab/data/new_scans.py:_refused")
@executes("strokelab/data/new_scans.py:no_scans")
@pytest.mark.parametrize("modality", ["T1w", "T1w post", "DWI"])
def test_scans_of_another_name(modality, tmp_path):
    import typer

    from strokelab.cli import app

    predict = typer.main.get_command(app).commands["predict"]  # type: ignore[attr-defined]
    scan = touched(tmp_path, "a_FLAIR.nii.gz") / "a_FLAIR.nii.gz"
    known = 3 if modality != "T1w post" else 1  # of no contrast that a file's name may contradict
    for places, wrong in [([scan], "ADC"), ([scan], None), ([tmp_path], None)][:known]:
        remedy = said(find_scans, places, [modality], as_modality=wrong).remedy
        typed = shlex.split(remedy[remedy.index("--as") :].partition(" (in")[0])
        given = predict.make_context("predict", ["run", "scan", "--out", "x", *typed]).params["as_modality"]
        assert [case.reference_image for case in find_scans(places, [modality], as_modality=given).cases] == [scan]
        if "as_modality=" in remedy:
            assert f"as_modality={modality!r}" in remedy


@executes("strokelab/data/several.py:members_of", "strokelab/data/several.py:_one")
def test_several_datasets(tmp_path):
    several, one = told(said(members_of, ["atlas_v1"], tmp_path).remedy)
    named = settings("data=several", several, "data.modalities=[T1w]")["data"]
    assert [member.name for member in members_of(named["datasets"], tmp_path)] == ["atlas_v1", "isles2022"]
    assert settings(one)["data"]["root"].endswith("atlas_v1")

    own = touched(tmp_path / "own", "images/a_T1w.nii", "images/a_FLAIR.nii", "labels/a.nii")
    other = touched(tmp_path / "other", "images/a_T1w.nii", "labels/a.nii")
    datasets = {"own": {"dataset": "folder", "root": str(own)}, "other": {"dataset": "folder", "root": str(other)}}

    def cases(channel: str) -> list[Case]:
        taken = {**datasets["own"], "contrasts": {channel: "FLAIR"}}
        return read_cases("several", tmp_path, datasets={**datasets, "own": taken})

    (word,) = told(said(cases, "T1w").remedy)
    (channel,) = typed_value([word], "data.modalities")
    assert {*cases(channel)[0].images} == {"T1w", channel}
