"""What a user can do wrong is said before training starts, in one message that names the way out; nothing is left."""

import gzip
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch


def refused(done, *fragments):
    """Status 1 and the house's message: what was looked at, found, expected, and what to do."""
    assert done.status == 1, done.output
    assert "Traceback" not in done.output
    for word in ("found:", "expected:", "remedy:", *fragments):
        assert word in done.output, f"{word!r} is not in {done.output}"


def refused_by_hydra(done, *fragments):
    assert done.status == 1, done.output
    assert "Traceback" not in done.output
    for word in fragments:
        assert word in done.output


def content(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def cohort(t1_cohort, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(t1_cohort, tmp_path / "cohort"))


@pytest.fixture
def here(tmp_path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


IMAGE = "Site2/031894/t01/031894_t1w_deface_stx.nii.gz"
MASK = "Site2/031894/t01/031894_LesionSmooth_stx.nii.gz"


def rewrite(path: Path, edit) -> None:
    image = nib.load(path)
    voxels = edit(np.asarray(image.dataobj, dtype=np.float32).copy())
    nib.save(nib.Nifti1Image(voxels, image.affine), path)


def put(array, value):
    array[10:14, 10:14, 10:14] = value
    return array


def shifted(path: Path) -> None:
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 4
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


DAMAGE = {
    "truncated": (lambda c: _cut(c / IMAGE), [IMAGE, "truncated"]),
    "no NIfTI": (lambda c: (c / IMAGE).write_bytes(gzip.compress(b"hello")), [IMAGE, "NIfTI"]),
    "empty file": (lambda c: (c / IMAGE).write_bytes(b""), [IMAGE]),
    "4-D": (lambda c: rewrite(c / IMAGE, lambda v: np.stack([v, v], -1)), [IMAGE, "4 dimensions", "split the series"]),
    "mask on another grid": (lambda c: shifted(c / MASK), [MASK, IMAGE.split("/")[-1], "resample the mask"]),
    "mask of another shape": (lambda c: rewrite(c / MASK, lambda v: v[:-1]), [MASK, "(24, 29, 24)", "(25, 29, 24)"]),
    "constant image": (lambda c: rewrite(c / IMAGE, lambda v: v * 0 + 7), [IMAGE, "every voxel is 7"]),
    "truncated mask": (lambda c: _cut(c / MASK), [MASK]),
    "missing image": (lambda c: (c / IMAGE).unlink(), ["031894", "031894_t1w"]),
    "one id twice": (lambda c: shutil.copytree(c / "Site2/031894", c / "Site3/031894"), ["031894_t01", "twice"]),
}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_data_are_named_and_nothing_is_left(kind, cohort, here, tiny, doors):
    damage, fragments = DAMAGE[kind]
    damage(cohort)
    done = doors.train(*tiny, f"data.root={cohort}", "run_dir=run", cwd=here)
    refused(done, *fragments)
    assert content(here) == []


RULES = {
    "NaN and Inf": (
        lambda c: rewrite(c / IMAGE, lambda v: put(put(v, np.inf), np.nan)),
        [f"{IMAGE}: 64 voxels are NaN or Inf and were set to 0"],
    ),
    "mask values": (lambda c: rewrite(c / MASK, lambda v: put(v * 255, 77)), [MASK, "values other than 0 and 255"]),
    "empty mask": (lambda c: rewrite(c / MASK, lambda v: v * 0), []),
    "site with one subject": (lambda c: shutil.rmtree(c / "Site2/031931"), ["Site2' has one subject"]),
}


@pytest.mark.parametrize("kind", RULES)
def test_what_a_rule_covers_is_trained_on_with_a_warning(kind, cohort, here, tiny, doors):
    damage, fragments = RULES[kind]
    if kind == "site with one subject":
        shutil.rmtree(cohort / "Site2/031927")
    damage(cohort)
    done = doors.train(*tiny, f"data.root={cohort}", "run_dir=run", "trainer.max_epochs=1", cwd=here).check()
    for words in fragments:
        assert words in done.output
    assert (here / "run/cases.csv").is_file()


SETTINGS = {
    "unknown site": (["split.fold=Site9"], ["split.fold", "Site9", "Site3"]),
    "fold out of range": (["split.fold=3"], ["split.fold", "0..2"]),
    "a part stays empty": (["split=kfold", "split.folds=40"], ["40"]),
    "crop not divisible": (["view.preparation.crop=[24,27,null]"], ["crop along y", "27", "multiple of 4", "use 28"]),
    "odd width": (
        ["view.preparation.crop=[23,28,null]"],
        ["crop along x", "multiple of 8", "two hemispheres", "use 24"],
    ),
    "too deep": (["model.network.depth=5"], ["crop along x", "multiple of 32"]),
    "three dimensions on slices": (["model.network.dimensions=3"], ["model.network.dimensions", "slices"]),
    "another modality": (["data.modalities=[FLAIR]"], ["FLAIR", "T1w"]),
    "modalities that differ": (["view.preparation.modalities=[T2]"], ["view.preparation.modalities", "T2"]),
    "no such folder": (["data.root=nowhere"], ["nowhere", "STROKELAB_DATA"]),
    "wrong dataset": (["data=isles2022"], ["atlas_v1", "data=atlas_v1"]),
    "folder without modalities": (["data=folder"], ["data.modalities=..."]),
    "folder without root": (["data=folder", "data.root=???", "data.modalities=[T1w]"], ["data.root"]),
    "unknown option": (["+data.options.abvoe=0.5"], ["abvoe", "above"]),
    "unknown normalization": (["view.preparation.normalize=zzz"], ["normalize", "zzz"]),
    "batch of none": (["data.batch_size=0"], ["data.batch_size"]),
    "excluded is unknown": (["data.exclude=[031899]"], ["031899"]),
    "everything left out": (["data.limit_per_site=0"], []),
    "no resume point": (["callbacks.resume_point=null"], ["resume_point"]),
    "checkpoint nobody writes": (["checkpoint=snapshot"], ["checkpoint", "snapshot", "last"]),
    "best without validation": (["checkpoint=best", "split.val_fraction=0"], ["no case to validate on"]),
    "misspelt argument, appended": (["+trainer.max_epoch=3"], ["trainer.max_epoch", "trainer.max_epochs?"]),
    "misspelt part of the model": (
        ["+model.network.bases=3"],
        ["model.network.bases", "did you mean", "model.network.base?"],
    ),
    "misspelt setting of the data": (["+data.batchsize=3"], ["data.batchsize", "data.batch_size?"]),
    "misspelt section": (["+trianer.max_epochs=3"], ["trianer", "did you mean 'trainer'?"]),
    "no such class": (["model.network._target_=strokelab.networks.unet.Unet"], ["model.network._target_", "Unet"]),
    "no GPU here": (["trainer=gpu"], ["Trainer", "gpu"]),
    "value of the wrong kind": (["model.network.base=wide"], ["base='wide'"]),
    "negative rate": (["model.optimizer.lr=-1"], ["learning rate"]),
    "ramp without an end": (["callbacks.site_adversary.schedule=dann", "trainer.max_epochs=-1"], ["dann"]),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_that_contradict_are_refused_and_nothing_is_left(kind, here, tiny, doors):
    if kind == "no GPU here" and torch.cuda.is_available():
        pytest.skip("there is one")
    overrides, fragments = SETTINGS[kind]
    done = doors.train(*tiny, "run_dir=some/run", *overrides, cwd=here)
    refused(done, *fragments)
    assert content(here) == []


def test_misspelt_on_the_command_line(here, doors):
    key = doors.train("trainer.max_epoch=3", "model=unet2d", cwd=here)
    refused_by_hydra(key, "not in struct", "trainer.max_epoch=3: did you mean trainer.max_epochs=3?")
    group = doors.train("modle=unet2d", cwd=here)
    refused_by_hydra(group, "modle=unet2d: did you mean model=unet2d?")
    option = doors.train("model=unet2", cwd=here)
    refused_by_hydra(option, "sgnet", "model=unet2: did you mean model=unet2d?")
    refused_by_hydra(doors.evaluate("rnus=[a]", cwd=here), "rnus=[a]: did you mean 'runs=[a]'?")
    right = doors.train("data=atlas_v1", "data.root=nowhere", "run_dir=run", cwd=here)
    assert right.status == 1
    assert "did you mean" not in right.output
    assert content(here) == []


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("trainer: {max_epoch: 3}", ["trainer.max_epoch", "trainer.max_epochs?"]),
        ("trianer: {max_epochs: 3}", ["trianer", "did you mean 'trainer'?"]),
        ("model: {network: {bas: 3}}", ["model.network.bas", "model.network.base?"]),
        ("callbacks: {case_metrics: {every_epochs: 3}}", ["every_n_epochs?"]),
        ("seeed: 3", ["seeed", "did you mean 'seed'?"]),
    ],
)
def test_misspelt_in_a_yaml_file(text, fragments, here, tiny, doors, tmp_path):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "odd.yaml").write_text(f"# @package _global_\n{text}\n")
    done = doors.train("--config-dir", folder.parent, "experiment=odd", *tiny, "run_dir=run", cwd=here)
    refused(done, *fragments)
    assert content(here) == []


def test_an_adversary_needs_two_training_sites(cohort, here, tiny, doors):
    shutil.rmtree(cohort / "Site3")
    done = doors.train(*tiny, f"data.root={cohort}", "data.n_sites=2", "run_dir=run", cwd=here)
    refused(done, "1 training site(s): ['Site2']", "adversary=none")
    assert content(here) == []
    shutil.rmtree(cohort / "Site2")
    one_site = (*tiny, f"data.root={cohort}", "data.n_sites=1", "run_dir=run")
    refused(doors.train(*one_site, cwd=here), "a dataset of one site", "adversary=none")
    refused(doors.train(*one_site, "adversary=none", cwd=here), "at least two sites", "split=kfold")


def test_one_modality_missing_in_one_case(isles_cohort, here, tiny, doors, tmp_path):
    cohort = Path(shutil.copytree(isles_cohort, tmp_path / "isles"))
    lost = next(cohort.rglob("*FLAIR.nii.gz"))
    lost.unlink()
    done = doors.train(*tiny, "data=isles2022", f"data.root={cohort}", "run_dir=run", cwd=here)
    refused(done, "flair", lost.name.split("_")[0])
    assert content(here) == []


@pytest.mark.parametrize("place", ["file/run", "file"])
def test_output_that_cannot_be_written(place, here, tiny, doors, trained_run, t1_cohort):
    (here / "file").write_text("in the way")
    refused(doors.train(*tiny, f"run_dir={place}", cwd=here), "file", "output folder")
    refused(doors.evaluate(f"runs=[{trained_run}]", f"out={place}", cwd=here), "file")
    refused(doors.strokelab("predict", trained_run, t1_cohort, "--out", place, cwd=here), "file")
    refused(doors.strokelab("phantom", "--layout", "atlas_v1", "--out", place, "--spacing", "8", cwd=here), "file")
    assert [name for name in content(here) if not name.endswith(".lock")] == ["file"]
    assert (here / "file").read_text() == "in the way"


def test_a_folder_of_other_things_is_not_trained_into(here, tiny, doors):
    (here / "config.yaml").write_text("mine: 1\n")
    refused(doors.train(*tiny, "run_dir=.", cwd=here), "config.yaml", "choose another run_dir")
    assert content(here) == ["config.yaml"]


EVALUATE = {
    "no such run": (["runs=[nowhere]"], ["nowhere", "no such folder"]),
    "no run": (["runs=[.]"], ["no config.yaml"]),
    "no runs": (["runs=[]"], ["runs"]),
    "unknown part": (["part=tset"], ["tset", "test"]),
    "unknown profile": (["profile=atals"], ["atals", "atlas"]),
    "unknown checkpoint": (["checkpoint=first"], ["first.ckpt", "last.ckpt"]),
    "no such device": (["device=cuda:7"], ["device=cuda:7", "cpu"]),
    "no device at all": (["device=toaster"], ["toaster"]),
    "post-processing of nobody": (["+postprocess._target_=os.system"], ["os.system"]),
    "another dataset without its modality": (
        ["data=isles2022", "data.root={isles}"],
        ["T1w, which this run was trained on", "FLAIR"],
    ),
    "another dataset that is not there": (["data=atlas_v2", "data.root=nowhere"], ["nowhere"]),
    "misspelt": (["+porfile=atlas"], ["porfile", "did you mean 'profile'?"]),
    "misspelt in the data": (["data=atlas_v1", "+data.modalites=[T1w]"], ["data.modalites", "data.modalities?"]),
}


@pytest.mark.parametrize("kind", EVALUATE)
def test_evaluation_refuses_and_leaves_nothing(kind, here, doors, trained_run, isles_cohort):
    overrides, fragments = EVALUATE[kind]
    overrides = [item.replace("{isles}", str(isles_cohort)) for item in overrides]
    runs = [] if any(item.startswith("runs=") for item in overrides) else [f"runs=[{trained_run}]"]
    refused(doors.evaluate(*runs, "out=some/out", *overrides, cwd=here), *fragments)
    assert content(here) == []


def test_commands_refuse(here, doors, trained_run, t1_cohort):
    (here / "note.txt").write_text("hello")
    (here / "void").mkdir()
    before = content(here)
    refused(doors.strokelab("predict", "nowhere", t1_cohort, "--out", "out", cwd=here), "nowhere")
    refused(doors.strokelab("predict", trained_run, "nothing.nii.gz", "--out", "out", cwd=here), "nothing.nii.gz")
    refused(doors.strokelab("predict", trained_run, "note.txt", "--out", "out", cwd=here), "note.txt")
    refused(doors.strokelab("predict", trained_run, "void", "--out", "out", cwd=here), "void")
    for root, dataset, words in (  # problems are listed in a table
        ("nowhere", "atlas_v1", "check the path"),
        ("void", "atlas_v1", "no case"),
        (t1_cohort, "isles2022", "looks like atlas_v1"),
    ):
        done = doors.strokelab("check", root, "--dataset", dataset, cwd=here)
        assert done.status == 1
        assert "not usable as it is: 1 error" in done.output
        assert words in done.output
    refused(doors.strokelab("check", t1_cohort, "--dataset", "atlas_v3", cwd=here), "atlas_v3", "atlas_v2")
    refused(doors.strokelab("phantom", "--layout", "atlas", "--out", "p", cwd=here), "atlas_v1")
    refused(doors.strokelab("phantom", "--layout", "atlas_v1", "--out", "p", "--spacing", "0", cwd=here), "spacing")
    refused(doors.strokelab("report", "nowhere", "--out", "out", cwd=here), "nowhere")
    usage = doors.strokelab("predict", trained_run, cwd=here)
    assert usage.status == 2
    assert "Traceback" not in usage.output
    assert [name for name in content(here) if not name.startswith(".")] == before


def test_one_damaged_scan_does_not_cost_the_others(here, doors, trained_run, t1_cohort):
    scans = here / "scans"
    scans.mkdir()
    for path in t1_cohort.glob("Site1/*/t01/0*_t1w_deface_stx.nii.gz"):
        shutil.copy(path, scans)
    first, second, third = sorted(scans.iterdir())
    _cut(first)
    rewrite(second, lambda v: np.stack([v, v], -1))
    done = doors.strokelab("predict", trained_run, "scans", "--out", "out", cwd=here)
    refused(done, "2 of 3 scans", first.name, second.name)
    table = [line.split("\t") for line in (here / "out/lesions.tsv").read_text().splitlines()[1:]]
    done_rows = [line for line in table if "n/a" not in line]
    assert (len(table), len(done_rows)) == (3, 1)
    assert third.name.split("_")[0] in done_rows[0][0]
    assert sum(path.name.endswith("_mask.nii.gz") for path in (here / "out").rglob("*")) == 1
