"""How golden numbers are recorded: commands in forked processes, digests of what they leave and of their batches."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import runpy
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback

import strokelab.evaluation.command
import strokelab.training  # noqa: F401  here, so that no fork has to
from strokelab.cli import main as strokelab_command

ROOT = Path(__file__).resolve().parents[1]
Numbers = dict[str, Any]
LEFT_OUT = {"minutes", "seconds", "time", "image"}  # columns of wall clock, and of where a scan lies


class Digests(Callback):
    """Digests of every batch as the model gets it, beside the run's files; ends the process where it is asked to.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Mapping[str, Any], index: int) -> None:
        """A training batch is served."""
        if str(trainer.global_step) == os.environ.get("GOLDEN_KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        self._write(trainer, "train", batch, index)

    def on_validation_batch_start(
        self, trainer: Any, module: Any, batch: Mapping[str, Any], index: int, dataloader_idx: int = 0
    ) -> None:
        """A validation batch is served."""
        self._write(trainer, "val", batch, index)

    def _write(self, trainer: Any, part: str, batch: Mapping[str, Any], index: int) -> None:
        with (self.folder / f"batches{trainer.global_rank}.csv").open("a") as file:
            for key, value in sorted(leaves(batch)):
                file.write(f"{part},{key},{trainer.current_epoch},{index},{digest(value)}\n")


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings with its dotted name."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    else:
        yield path, node


def digest(value: Any) -> str:
    """Sixteen digits that tell an array (kind, shape, bits) or plain data."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().numpy()
    if isinstance(value, np.ndarray):
        told = f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
    else:
        told = repr(value).encode()
    return hashlib.sha256(told).hexdigest()[:16]


def weights_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """The digest of named weights."""
    return digest([(name, digest(value)) for name, value in sorted(tensors.items())])


@dataclass(frozen=True)
class Place:
    """Where a recording writes, and where the things lie that it begins with (the same, but for ``continue``)."""

    out: Path
    before: Path
    job: str = ""

    def command(self, door: str, *words: str | Path, env: Mapping[str, str] | None = None, status: int = 0) -> None:
        """Run ``train``, ``evaluate`` or ``strokelab`` to its end."""
        self.commands(door, words, envs=[env or {}], status=status)

    def commands(
        self, door: str, words: Sequence[str | Path], *, envs: Sequence[Mapping[str, str]], status: int = 0
    ) -> None:
        """The same command in several processes at once."""
        log = self.out / "logs" / f"{self.job}.txt"
        started = [fork(lambda env=env: _enter(door, words, env, self.out, log)) for env in envs]
        ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]
        if set(ends) != {status}:
            raise RuntimeError(f"{door} {' '.join(map(str, words))}: status {ends}, see {log}")

    def fresh(self, *names: str) -> Path:
        """A place in ``out`` where nothing lies, also after a recording that was stopped."""
        folder = self.out.joinpath(*names)
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def table(self, path: Path) -> str:
        """The digest of a csv, wherever it lies, without ``LEFT_OUT``."""
        text = path.read_text()
        for place, word in ((self.out, "OUT"), (self.before, "OUT"), (ROOT, "ROOT")):
            text = text.replace(str(place), word)
        rows = list(csv.reader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ","))
        kept = [number for number, name in enumerate(rows[0]) if name not in LEFT_OUT]
        return digest([[row[number] for number in kept] for row in rows])

    def tables(self, folder: Path) -> Numbers:
        """All tables of a folder."""
        found = sorted(path for suffix in ("*.csv", "*.tsv") for path in folder.rglob(suffix))
        return {str(path.relative_to(folder)): self.table(path) for path in found}

    def run(self, folder: Path) -> Numbers:
        """What a training left."""
        state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        optimizer = state["optimizer_states"][0]["state"]
        moments = digest([(name, digest(value)) for name, value in leaves(optimizer)])
        numbers: Numbers = {"weights": weights_digest(state["state_dict"]), "optimizer": moments}
        for path in sorted(folder.glob("*.csv")):
            if not path.name.startswith("batches"):
                numbers[path.name] = self.table(path)
                continue
            lines: dict[str, list[str]] = {}
            for line in path.read_text().splitlines():
                part, key, rest = line.split(",", 2)
                lines.setdefault(f"{path.stem}/{part}/{key}", []).append(rest)
            numbers |= {name: f"{len(rest)} {digest(rest)}" for name, rest in lines.items()}
        return numbers


def maps(folder: Path) -> Numbers:
    """Digests of all volumes below a folder, and how many voxels a mask has."""
    numbers: Numbers = {}
    for path in sorted(folder.rglob("[!.]*.nii.gz")):
        image = nib.load(path)
        voxels = np.asanyarray(image.dataobj)
        count = f" {np.count_nonzero(voxels)} of {voxels.size}" if "mask" in path.name else ""
        numbers[str(path.relative_to(folder))] = digest([digest(voxels), digest(image.affine)]) + count
    return numbers


def fork(work: Callable[[], int]) -> int:
    """The number of a process that does the work and ends with the status it gives."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _enter(door: str, words: Sequence[str | Path], env: Mapping[str, str], cwd: Path, log: Path) -> int:
    """The command, in this process."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.environ.update(env)
    os.chdir(cwd)
    rank_zero_only.rank = int(env.get("RANK", 0))  # Lightning took it from the environment when it was imported
    script = str(ROOT / f"{door}.py")
    sys.argv = ["strokelab" if door == "strokelab" else script, *map(str, words)]
    print("\n$", *sys.argv, flush=True)
    try:
        strokelab_command() if door == "strokelab" else runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


@dataclass(frozen=True)
class Job:
    """A part of a recording.

    Args:
        work: gives its numbers.
        needs: names of the jobs before it.
        continues: whether it is also done with what another version recorded.
    """

    work: Callable[[Place], Numbers]
    needs: tuple[str, ...] = ()
    continues: bool = False


def record(jobs: Mapping[str, Job], out: Path, before: Path, *, only: str, at_once: int) -> int:
    """Do the jobs, some at a time, each in a process of its own, and write ``golden.json``; what is done stays.

    Args:
        jobs: by name.
        out: folder that is written.
        before: folder of another recording to go on with; the same: everything is done.
        only: pattern of the names wanted; what they need is done, too.
        at_once: jobs at a time.

    Returns:
        How many failed.
    """
    continues = out != before
    listed = {name: job for name, job in jobs.items() if job.continues or not continues}
    wanted = [name for name in listed if fnmatch(name, only)]
    for name in wanted:
        wanted += [need for need in listed[name].needs if need in listed and need not in wanted]
    for name in ("logs", "parts"):
        (out / name).mkdir(parents=True, exist_ok=True)
    if continues and not (out / "store").exists():
        shutil.copytree(before / "store", out / "store")  # prepared cases of before serve as well
    left = [name for name in listed if name in wanted and not _part(out, name).is_file()]
    running: dict[int, tuple[str, float]] = {}
    failed: list[str] = []
    while left or running:
        done = {need for need in jobs if need not in listed or _part(out, need).is_file()}
        ready = [name for name in left if done.issuperset(listed[name].needs)]
        while ready and len(running) < at_once:
            left.remove(ready[0])
            place = Place(out, before, ready[0].replace("/", "-"))
            work = partial(_do, listed[ready[0]].work, place, _part(out, ready[0]))
            running[fork(work)] = ready[0], time.time()
            del ready[0]
        if not running:
            break
        process, status = os.wait()
        name, started = running.pop(process)
        print(f"{time.time() - started:6.1f} s  {name}{'  FAILED' * bool(status)}", flush=True)
        failed += [name] * bool(status)
    numbers = {name: json.loads(_part(out, name).read_text()) for name in listed if _part(out, name).is_file()}
    flat = {f"{name}: {key}": value for name, part in numbers.items() for key, value in part.items()}
    content = {"kind": "continue" if continues else "record", "numbers": flat}
    (out / "golden.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"{len(flat)} numbers of {len(numbers)} jobs; failed: {failed}; not done for that: {left}")
    return len(failed)


def _part(out: Path, name: str) -> Path:
    return out / "parts" / f"{name.replace('/', '-')}.json"


def _do(work: Callable[[Place], Numbers], place: Place, part: Path) -> int:
    numbers = work(place)
    part.write_text(json.dumps(numbers))
    return 0


def compare(before: Path, after: Path) -> int:
    """Print name, before, after, equal; 1 on any difference. What ``continue`` does not do is not asked of it."""
    first, second = (json.loads((folder / "golden.json").read_text()) for folder in (before, after))
    old, new = first["numbers"], second["numbers"]
    asked = old if second["kind"] == "record" else {name for name in old if name in new}
    names = [*dict.fromkeys([*(name for name in old if name in asked), *new])]
    unequal = 0
    for name in names:
        equal = old.get(name, "missing") == new.get(name, "missing")
        unequal += not equal
        print(f"{name} | {old.get(name, 'missing')} | {new.get(name, 'missing')} | {'yes' if equal else 'NO'}")
    print(f"{len(names) - unequal} of {len(names)} equal")
    return int(unequal > 0)
