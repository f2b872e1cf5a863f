"""Golden numbers: what small trainings, predictions and tables give, as digests that two versions must share.

``python -m benchmarks.golden record OUT``             everything, on fresh phantoms; its run folders stay in OUT
``python -m benchmarks.golden continue BEFORE OUT``    with the run folders that another version recorded
``python -m benchmarks.golden compare BEFORE AFTER``   a table; exit status 1 on any difference

One thread, CPU, float32, seed 0. Wall clock is left out, and so is where things lie. Needs POSIX: each command is
forked from a process that has imported everything, so that its seconds are those of the work. What was recorded stays:
the command given again after a stop does what is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import strokelab
from benchmarks.golden_work import ROOT, Job, Numbers, Place, compare, digest, maps, record, weights_digest
from strokelab.data import read_cases
from strokelab.runs import load_run

ALLOW = "benchmarks.golden_work."
LENGTH = ["trainer.max_epochs=2", "trainer.log_every_n_steps=1", "trainer.precision=32-true", "allocator=default"]
SLICES = [
    *("data=phantom", "data.spacing=8", "data.sites=3", "data.cases_per_site=3", "data.prepare_workers=1"),
    *("data.batch_size=16", "view.preparation.crop=[24,28,null]", "view.preparation.offset=null"),
    *("view.sampler.min_brain_pixels=8", "model.network.base=4", "model.network.depth=3", "model.optimizer.lr=0.03"),
    *("optimizer@model.optimizer=adamw", "loss=dice_bce", "callbacks.case_metrics.every_n_epochs=2", *LENGTH),
]
SHORT = "model.standardizer.bn_momentum=null"  # the usual statistics of MAIN need some 200 steps
PATCHES = [
    *("experiment=mapping_small", "data.spacing=8", "data.sites=2", "data.cases_per_site=4", "data.batch_size=2"),
    *("data.prepare_workers=1", "data.layout_options.testing=2", "data.layout_options.smallest_mm3=2000"),
    *("view.sampler.patch=[16,16,16]", "view.windows.patch=[16,16,16]", "view.sampler.iterations_per_epoch=4"),
    *("view.sampler.validation_iterations=2", "planner.width=4", "split.folds=2", *LENGTH),
]
MIXED = [  # experiment=mapping_sgnet on the small cohort: patches span the width of the prepared grid
    *(item for item in PATCHES if "patch=" not in item),
    *("adversary=site", "hemispheres=split", "view.preparation.box=null", "view.preparation.crop=[24,null,null]"),
    *("view.augment.keep_midline=true", "view.sampler.patch=[24,16,16]", "view.windows.patch=[24,16,16]"),
]
BIAS = "view.augment.transforms=[{_target_:torchio.RandomBiasField},{_target_:torchio.RandomFlip}]"
SAVING = "callbacks.resume_point.every_n_steps=2"
TRAININGS: Mapping[str, list[str]] = {
    "sgnet": [*SLICES, SHORT],
    "unet2d": [*SLICES, "model=unet2d"],
    "unet2d_standard": [*SLICES, "model=unet2d", "augment=standard", "loss=dice"],
    "unet2d_recipe": [*SLICES, "model=unet2d", "augment=recipe", BIAS],
    "sgnet_workers": [*SLICES, SHORT, "data.workers=2"],
    "sgnet_balanced": [
        *SLICES,
        *(SHORT, "view.order={_target_:strokelab.sampling.site_balanced.SiteBalanced}"),
        *("data.batch_size=10", "+data.drop_last=true"),
    ],
    "adversary": [*PATCHES, "adversary=site"],
    "mixed": MIXED,
    "residual_workers": [*PATCHES, "model=nnunet_residual", "data.workers=2"],
    "nnunet_strong": [*PATCHES, "augment=strong"],
    "nnunet_plain": [*PATCHES, "augment=none", "view.windows.mirror=xyz", "postprocess=mapping"],
}
TWO = ["trainer=ddp", "trainer.devices=2"]
SHARED = {"sgnet_two": [*SLICES, SHORT, *TWO, LENGTH[2]], "residual_two": [*PATCHES, "model=nnunet_residual", *TWO]}
STOPPED = {  # killed within the second epoch, behind a checkpoint within it
    "sgnet_stopped": ([*SLICES, SHORT, SAVING], 7),
    "nnunet_stopped": ([*PATCHES, "augment=strong", SAVING], 7),
}
SCHEMES = ("nnunet", "nnunet_topk", "nnunet_residual")
TEACHERS = [f"{scheme}-fold{fold}-seed0" for fold in range(2) for scheme in SCHEMES]
STUDENTS = [f"nnunet_selftraining-fold{fold}-seed0" for fold in range(2)]
PREDICTED = ("sgnet", "unet2d", "unet2d_recipe", "adversary", "mixed", "nnunet_plain", *TEACHERS[:3], STUDENTS[0])
EVALUATED = ("runs", "again", "other", "mapping", "mean")
APPLIED = ("mean", "per_scheme", "slices", "windows", "best")
IMPORTED = ("v2_plain", "v2_residual", "v1_plain", "v1_residual")


def cohorts(place: Place) -> Numbers:
    """Phantom cohorts, a scan of one and a scan of other voxels; nnU-Net models as their trainings leave them."""
    data, scans = place.out / "data", place.out / "scans"
    place.command("strokelab", "phantom", *SLICES, "--out", data / "slices")
    place.command("strokelab", "phantom", *PATCHES, "--out", data / "patches")
    other = ("--spacing", "6.5", "--sites", "1", "--cases-per-site", "1", "--seed", "5")
    place.command("strokelab", "phantom", "--layout", "atlas_v1", *other, "--out", data / "other")
    scans.mkdir()
    for name in ("slices", "other"):
        shutil.copy(read_cases("atlas_v1", data / name)[0].reference_image, scans / f"sub-{name}_T1w.nii.gz")
    sys.path.insert(0, str(ROOT / "tests/exchange"))
    import nnunet_models

    for name in IMPORTED:
        version, kind = name.split("_")
        build = nnunet_models.version2 if version == "v2" else nnunet_models.version1
        build(place.out / "nnunet" / name, residual=kind == "residual")
    return {name: digest(sorted(maps(data / name).items())) for name in ("slices", "patches", "other")}


def own(settings: Sequence[str], place: Place) -> list[str]:
    """The words of a training: settings, its data, the digests of its batches."""
    root = place.before / "data" / ("patches" if PATCHES[0] in settings else "slices")
    batches = "+callbacks.digests={_target_:benchmarks.golden_work.Digests,folder:'${run_dir}'}"
    return [*settings, f"data.root={root}", batches]


def training(name: str, place: Place) -> Numbers:
    """A training by one process."""
    folder = place.fresh("runs", name)
    place.command("train", *own(TRAININGS[name], place), f"run_dir={folder}")
    return place.run(folder)


def shared(name: str, place: Place) -> Numbers:
    """A training by two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "golden"}
    both |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    envs = [both | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    folder = place.fresh("runs", name)
    place.commands("train", [*own(SHARED[name], place), f"run_dir={folder}"], envs=envs, status=0)
    return place.run(folder)


def stopped(name: str, place: Place) -> Numbers:
    """A training that is killed; nothing of it is compared, ``resumed`` goes on with it."""
    settings, step = STOPPED[name]
    folder = place.fresh("runs", name)
    kill = {"GOLDEN_KILL_AT": str(step)}
    place.command("train", *own(settings, place), f"run_dir={folder}", env=kill, status=-9)
    return {}


def resumed(name: str, place: Place) -> Numbers:
    """The rest of it, in a copy."""
    folder = place.fresh("resumed", name)
    shutil.copytree(place.before / "runs" / name, folder)
    place.command("train", f"resume={folder}", f"allow=[{ALLOW}]")
    return place.run(folder)


def teachers(fold: int, place: Place) -> Numbers:
    """The three schemes of a fold, as ``strokelab self-train`` would start them."""
    numbers: Numbers = {}
    for scheme in SCHEMES:
        folder = place.out / "loop" / f"{scheme}-fold{fold}-seed0"
        asked = [f"split.fold={fold}", f"model={scheme}", "sweep=mapping_schemes", "hydra.mode=RUN", "resume=auto"]
        place.command("train", *own(PATCHES, place), *asked, f"hydra.run.dir={folder}")
        numbers |= {f"{scheme}/{name}": value for name, value in place.run(folder).items()}
    return numbers


def loop(place: Place) -> Numbers:
    """Pseudo-labels and students."""
    folder = place.out / "loop"
    place.command("strokelab", "self-train", *own(PATCHES, place), "--weight", "2", "--out", folder)
    numbers = {f"masks/{name}": value for name, value in maps(folder / "pseudo_labels").items()}
    for student in STUDENTS:
        numbers |= {f"{student}/{name}": value for name, value in place.run(folder / student).items()}
    return numbers


def loop_continued(place: Place) -> Numbers:
    """A self-training begun before, of which one student is missing, goes on: nothing else is trained again."""
    folder = place.fresh("loop_continued")
    shutil.copytree(place.before / "loop", folder)
    shutil.rmtree(folder / STUDENTS[1])
    kept = _written(folder)
    place.command("strokelab", "self-train", *own(PATCHES, place), "--weight", "2", "--out", folder)
    again = [name for name, written in _written(folder).items() if name in kept and written != kept[name]]
    return {"trained again": again, **place.run(folder / STUDENTS[1])}


def _written(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("last.ckpt")}


def sweep(place: Place) -> Numbers:
    """A sweep of two seeds and its table."""
    folder = place.out / "sweep"
    words = [*SLICES, f"data.root={place.before}/data/slices", "model=unet2d", "sweep=seeds", "seed=0,1"]
    place.command("train", "-m", *words, f"hydra.sweep.dir={folder}", "hydra.launcher.at_once=2")
    place.command("strokelab", "sweep", folder)
    return _sweep_numbers(place, folder)


def sweep_continued(place: Place) -> Numbers:
    """A sweep of which one member had finished: the other is trained, and the first is not trained again."""
    folder = place.fresh("sweep_continued")
    shutil.copytree(place.before / "sweep", folder)
    shutil.rmtree(folder / "unet2d-seed1")
    kept = _written(folder)
    words = [*SLICES, f"data.root={place.before}/data/slices", "model=unet2d", "sweep=seeds", "seed=0,1"]
    place.command("train", "-m", *words, f"hydra.sweep.dir={folder}")
    return _sweep_numbers(place, folder) | {"kept": kept.items() <= _written(folder).items()}


def _sweep_numbers(place: Place, folder: Path) -> Numbers:
    numbers: Numbers = {"sweep.csv": place.table(folder / "sweep.csv")}
    for seed in (0, 1):
        numbers |= {f"seed{seed}/{name}": value for name, value in place.run(folder / f"unet2d-seed{seed}").items()}
    out = place.fresh(f"{folder.name}_evaluation")
    place.command("evaluate", f"sweep={folder}", f"out={out}")
    return numbers | {f"evaluation/{name}": value for name, value in place.tables(out).items()}


def predicted(name: str, place: Place) -> Numbers:
    """New scans by one run, on the grid of its training and on another; and a case through the Python interface."""
    folder = place.before / ("loop" if "-fold" in name else "runs") / name
    out = place.fresh("predicted", name)
    scans = [place.before / "scans"]
    place.command("strokelab", "predict", folder, *scans, "--out", out)
    run = load_run(folder)
    case = read_cases("atlas_v1", place.before / "data/slices")[0]
    prediction = run.predict(case)
    python = {"python/mask": digest(prediction.mask), "python/probability": digest(prediction.probability)}
    return maps(out) | place.tables(out) | python


def applied(name: str, place: Place) -> Numbers:
    """New scans by several runs, and with other windows, cuts and post-processing."""
    runs = [place.before / "loop" / one for one in (*TEACHERS, *STUDENTS)]
    slices = [place.before / "runs" / one for one in ("sgnet", "unet2d")]
    words: Mapping[str, list[Any]] = {
        "mean": [*runs, "--disagreement", "--postprocess", "mapping"],
        "per_scheme": [*runs[:5], "--weights", "per_scheme", "--disagreement", "--memory-gb", "0.0001"],
        "slices": [*slices, "--disagreement", "--postprocess", "small_components", "--postprocess", "min_voxels=3"],
        "windows": [runs[0], "--windows", "mirror=xy", "--windows", "step=0.75", "--postprocess", "mapping"],
        "best": [runs[0], "--checkpoint", "best", "--postprocess", "threshold", "--postprocess", "threshold=0.4"],
    }
    out = place.fresh("applied", name)
    given = words[name]
    folders = [word for word in given if isinstance(word, Path)]
    options = [word for word in given if not isinstance(word, Path)]
    place.command("strokelab", "predict", *folders, place.before / "scans", "--out", out, *options)
    return maps(out) | place.tables(out)


def evaluated(name: str, place: Place) -> Numbers:
    """Tables, maps and the report's tables of runs, of a sweep and of ensembles."""
    runs, loops = (place.before / one for one in ("runs", "loop"))
    other = ["data=atlas_v1", f"data.root={place.before}/data/other"]
    fold = [f"{loops}/{name}" for name in TEACHERS[:3]]
    mean = ["ensemble=mean", "ensemble.weights=per_scheme", "ensemble.disagreement=true", "save_predictions=true"]
    words = {
        "runs": [f"runs=[{runs}/sgnet,{runs}/unet2d]"],
        "again": [f"runs=[{runs}/sgnet,{runs}/mixed]", "rescore=true", "postprocess=small_components", "part=train"],
        "other": [f"runs=[{runs}/sgnet,{runs}/nnunet_plain]", *other, "profile=atlas"],
        "mapping": [f"sweep={loops}", "ensemble=mapping", "ensemble.alone=true", "profile=atlas"],
        "mean": [f"runs=[{','.join(fold)}]", *mean, "windows={mirror: none, step: 0.75}"],
    }
    out = place.fresh("evaluated", name)
    place.command("evaluate", *words[name], f"out={out}")
    return place.tables(out) | maps(out)


def imported(name: str, place: Place) -> Numbers:
    """A model of nnU-Net becomes a run, which predicts; where it was imported before, that run does."""
    folder = place.before / "imported" / name
    if place.out == place.before:
        words = ("--fold", "0", "--modality", "T1w", "--out", folder)
        place.command("strokelab", "import-nnunet", place.before / "nnunet" / name, *words)
    out = place.fresh("imported_predicted", name)
    place.command("strokelab", "predict", folder, place.before / "scans", "--out", out)
    return maps(out) | place.tables(out)


def built(place: Place) -> Numbers:
    """Fresh weights of the models by name."""
    numbers: Numbers = {}
    for name in ("sgnet", "unet2d", "nnunet", "nnunet_residual"):
        torch.manual_seed(0)
        small = {"network__base": 4} if "nnunet" not in name else {"widths": (4, 8, 8, 8, 8, 8)}
        numbers[name] = weights_digest(strokelab.build_model(name, **small).state_dict())
    return numbers


def jobs() -> dict[str, Job]:
    """All parts of a recording."""
    data = ("cohorts",)
    listed = {"cohorts": Job(cohorts), "build": Job(built, (), True), "sweep": Job(sweep, data)}
    listed |= {f"teachers/{fold}": Job(partial(teachers, fold), data) for fold in range(2)}
    listed["loop"] = Job(loop, ("teachers/0", "teachers/1"))
    listed |= {f"train/{name}": Job(partial(training, name), data) for name in TRAININGS}
    listed |= {f"train/{name}": Job(partial(shared, name), data) for name in SHARED}
    listed |= {f"stop/{name}": Job(partial(stopped, name), data) for name in STOPPED}
    listed |= {f"resume/{name}": Job(partial(resumed, name), (f"stop/{name}",), True) for name in STOPPED}
    listed |= {f"import/{name}": Job(partial(imported, name), data, True) for name in IMPORTED}
    for name in PREDICTED:
        before = "loop" if name in STUDENTS else "teachers/0" if name in TEACHERS else f"train/{name}"
        listed[f"predict/{name}"] = Job(partial(predicted, name), (before,), True)
    listed["sweep/continued"] = Job(sweep_continued, ("sweep",), True)
    listed["loop/continued"] = Job(loop_continued, ("loop",), True)
    runs = (*(f"train/{name}" for name in ("sgnet", "unet2d", "mixed", "nnunet_plain")), "loop")
    listed |= {f"evaluate/{name}": Job(partial(evaluated, name), runs, True) for name in EVALUATED}
    return listed | {f"apply/{name}": Job(partial(applied, name), runs, True) for name in APPLIED}


def main(words: Sequence[str]) -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["record", "continue", "compare"])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", default="*", help="pattern of jobs, e.g. 'train/*'; what they need is done, too")
    parser.add_argument("--at-once", type=int, default=2, help="jobs beside each other")
    given = parser.parse_args(words)
    before, out = (given.folders[place].resolve() for place in (0, -1))
    if given.task == "compare":
        return compare(before, out)
    quiet = {"OMP_NUM_THREADS": "1", "STROKELAB_STORE": f"{out}/store", "XDG_STATE_HOME": f"{out}/state"}
    quiet |= {"STROKELAB_DATA": f"{before}/data", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    if any(os.environ.get(name) != value for name, value in quiet.items()):  # read when libraries are loaded
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.golden", *words], {**os.environ, **quiet})
    return record(jobs(), out, before, only=given.only, at_once=given.at_once)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
