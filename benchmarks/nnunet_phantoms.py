"""nnU-Net trained on cohort, folds, plan, optimiser and number of steps of a sweep of ours; both scored side by side.

``python -m benchmarks nnunet_phantoms SWEEP --folder DIR``: everything is read from the sweep's run folders. Masks of
the held-out cases, nnU-Net's and ours, end in ``DIR/masks``; tables and report in ``DIR/scores``; nnU-Net's folds as
run folders in ``DIR/imported``, for ``evaluate.py sweeps=[...]``. Folds that are trained are not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.peer import in_peer, peer_versions
from strokelab import runs
from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.errors import DataWarning, RunError
from strokelab.exchange import Origin, export_nnunet, import_nnunet
from strokelab.files import natural_key
from strokelab.nifti import write_volume

NUMBER, NAME = 501, "phantoms"
MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"
NETWORK = "strokelab.networks.nnunet.NNUNet"


@dataclass(frozen=True)
class Method:
    """The folds of one method of ours, in the order of the sweep."""

    name: str
    folders: tuple[Path, ...]
    settings: Mapping[str, Any]  # of the first fold; the others differ in the fold alone

    @property
    def plan(self) -> dict[str, Any]:
        """What ``peer_training.prepare`` imposes on nnU-Net."""
        network = self.settings["model"]["network"]
        stages, blocks = len(network["widths"]), network["blocks_encoder"]
        return {
            "patch": self.settings["view"]["sampler"]["patch"],
            "batch_size": self.settings["data"]["batch_size"],
            **{key: network[key] for key in ("widths", "kernels", "strides", "residual")},
            "blocks": [blocks] * stages if isinstance(blocks, int) else [*blocks, *[blocks[-1]] * stages][:stages],
            "units": network["units_decoder"],
        }

    @property
    def length(self) -> dict[str, int]:
        """Epochs and steps of an epoch."""
        sampler = self.settings["view"]["sampler"]
        return {"epochs": self.settings["trainer"]["max_epochs"], "iterations": sampler["iterations_per_epoch"]}

    @property
    def optimizer(self) -> dict[str, float]:
        """Rate and momentum; short trainings learn nothing with nnU-Net's own."""
        optimizer = self.settings["model"]["optimizer"]
        return {"rate": float(optimizer["lr"]), "momentum": float(optimizer["momentum"])}

    @property
    def mirrors(self) -> bool:
        """Whether predictions are averaged over mirror images."""
        return self.settings["view"]["windows"]["mirror"] not in (None, "none")


def main(arguments: Sequence[str]) -> None:
    """Export, plan, train, predict, score."""
    options = _options(arguments)
    console, folder = Console(), options.folder.resolve()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fold per core
    method = method_of(options.sweep, options.method)
    splits = [runs.read_split(run) for run in method.folders]
    cohort = method.settings["cohort"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said by the training of ours
        cases = read_cases(cohort["dataset"], cohort["root"], **cohort.get("options") or {})
    by_id = {case.case_id: case for case in cases}
    environment = {f"nnUNet_{name}": folder / name for name in ("raw", "preprocessed", "results")}
    raw = folder / "raw" / f"Dataset{NUMBER:03d}_{NAME}"
    model = folder / "results" / raw.name / MODEL
    if not (folder / "preprocessed" / raw.name / "splits_final.json").is_file():
        if not raw.is_dir():
            export_nnunet(cases, raw.parent, name=NAME, number=NUMBER, splits=splits)
        for place in environment.values():
            place.mkdir(parents=True, exist_ok=True)
        console.print(f"Cohort written for nnU-Net; {peer_versions()}; {method.name}'s plan: {method.plan}")
        _ask("prepare", {"number": NUMBER, "plan": method.plan}, environment)

    def fold(index: int) -> str:
        answer: dict[str, Any] = {}
        if not (model / f"fold_{index}" / "checkpoint_final.pth").is_file():
            chosen = {} if options.shipped_optimizer else method.optimizer
            answer = _ask("train", {"number": NUMBER, "folds": [index], **method.length, **chosen}, environment)
        tested = splits[index].test
        files = [[str(path) for path in sorted((raw / "imagesTr").glob(f"{name}_[0-9]*.nii.gz"))] for name in tested]
        outputs = [str(folder / "masks" / "nnU-Net" / name) for name in tested]
        work = {"model": str(model), "folds": [index], "inputs": files, "outputs": outputs, "mirror": method.mirrors}
        _ask("predict", work, environment)
        seconds = f", trained in {answer['seconds']:.0f} s, peak {answer['peak_mib']:.0f} MiB" if answer else ""
        return f"fold {index}: {len(tested)} held-out cases{seconds}"

    _at_once(fold, len(splits), options.at_once, console)
    _at_once(
        lambda index: _ours(method.folders[index], [by_id[name] for name in splits[index].test], folder),
        len(splits),
        1,
        console,
    )
    origin = Origin(cohort, raw / "splits_final.json")
    places = import_nnunet(model, folder / "imported", modalities=tuple(cases[0].images), origin=origin)
    console.print(f"nnU-Net's folds as runs: {', '.join(map(str, places))}", soft_wrap=True)
    _score(method.name, folder, cohort, console)


def method_of(sweep: Path, name: str | None) -> Method:
    """The runs of one method in a sweep's folder.

    Raises:
        RunError: no run there is of nnU-Net's family, or there are several methods and none is named.
    """
    found: dict[str, list[tuple[Path, Mapping[str, Any]]]] = {}
    for path in sorted(sweep.glob("*/config.yaml"), key=lambda path: natural_key(str(path))):
        settings = runs.read_settings(path.parent)
        if (
            settings["model"]["network"].get("_target_") == NETWORK
            and runs.read_status(path.parent)["state"] == "finished"
        ):
            found.setdefault(str(settings["name"]), []).append((path.parent, settings))
    if name is None and len(found) == 1:
        name = next(iter(found))
    if name not in found:
        raise RunError(
            sweep,
            found=f"finished runs of {sorted(found) or 'no such network'}" + (f", none of {name}" if name else ""),
            expected="the finished runs of one method with nnU-Net's network",
            remedy="name it with --method, or finish the sweep",
        )
    folders, settings = zip(*found[name], strict=True)
    return Method(name, folders, settings[0])


def _at_once(work: Callable[[int], str], number: int, at_once: int, console: Console) -> None:
    with ThreadPoolExecutor(at_once) as threads:
        for line in threads.map(work, range(number)):
            console.print(line)


def _ask(step: str, content: Mapping[str, Any], environment: Mapping[str, Path]) -> dict[str, Any]:
    return in_peer("benchmarks.peer_training", step, json.dumps(content), environment=environment)


def _ours(run: Path, cases: Sequence[Case], folder: Path) -> str:
    """The masks of a fold's held-out cases."""
    trained = runs.load_run(run)
    for case in cases:
        prediction = trained.predict(case)
        write_volume(folder / "masks" / "ours" / f"{case.case_id}.nii.gz", prediction.mask, prediction.grid)
    return f"{run.name}: {len(cases)} held-out cases of ours"


def _score(name: str, folder: Path, cohort: Mapping[str, Any], console: Console) -> None:
    from strokelab.scoreboard.command import Sources, score_masks
    from strokelab.scoreboard.score import Rules

    for leftover in (folder / "masks" / "nnU-Net").glob("*.json"):  # plans and arguments that nnU-Net adds
        leftover.unlink()
    sources = Sources(
        str(folder / "masks" / "ours"),
        str(cohort["root"]),
        dataset=str(cohort["dataset"]),
        name=name,
        beside=[f"nnunetv2={folder / 'masks' / 'nnU-Net'}"],
    )
    score_masks(sources, Rules(profile="atlas"), folder / "scores", workers=2, console=console)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks nnunet_phantoms", description=__doc__)
    parser.add_argument("sweep", type=Path, help="folder of a finished cross-validation of ours")
    parser.add_argument("--method", help="name of the runs whose plan and length nnU-Net gets, where there are several")
    parser.add_argument("--folder", type=Path, required=True, help="where nnU-Net's folders, masks and scores go")
    parser.add_argument(
        "--shipped-optimizer",
        action="store_true",
        help="nnU-Net keeps its own rate and momentum (default: those of ours)",
    )
    parser.add_argument("--at-once", type=int, default=2, help="folds of nnU-Net at a time (default 2)")
    return parser.parse_args(arguments)
