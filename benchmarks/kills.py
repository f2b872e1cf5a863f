"""Kill trainings at random moments, resume them, compare: ``python -m benchmarks kills --number 50 [--processes 2]``.

Each run gets one to four signals, each at a random moment of a start of it, and then ends undisturbed. It counts when
weights, curves and case tables are, bit for bit, those of a run never disturbed, when no killed start exited with 0,
and when none left a process behind. Starts are forked from this process, which has imported everything; what runs is
``train.py``, and in two processes Lightning starts the second one as for everybody.
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track

from strokelab.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
FILES = ("metrics.csv", "cases.csv", "probabilities.csv", "split.csv", "sites.json")
EXPECTED = {"KILL": {-signal.SIGKILL}, "TERM": {143, -signal.SIGTERM}, "USR1": {143, -signal.SIGUSR1}, "INT": {130}}
ORPHAN_SECONDS = 30.0


@dataclass
class Tally:
    """What happened over all runs."""

    equal: int = 0
    starts: int = 0
    heard: Counter[str] = field(default_factory=Counter)  # signal and the phase it came in
    too_late: int = 0
    faults: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> None:
    """Kill, resume, compare, and say how many runs ended as if nothing had happened; status 1 if not all."""
    options = _options(arguments)
    console, tally = Console(), Tally()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="strokelab-kills-") as temporary:
        folder = options.folder or Path(temporary)
        settings = _settings(folder, options.processes)
        began = time.monotonic()
        status = _Start([*settings, f"run_dir={folder / 'undisturbed'}"], folder).wait()
        if status:
            raise SystemExit(f"the undisturbed run ended with {status}; see {folder / 'output.txt'}")
        seconds = time.monotonic() - began
        for number in track(range(options.number), "Killing", console=Console(stderr=True)):
            rng = random.Random(f"{options.seed} {number}")
            run = folder / f"run-{number}"
            _disturb(run, settings, rng, options.signals, seconds, tally)
            reasons = differences(run, folder / "undisturbed")
            tally.equal += not reasons
            tally.faults += [f"{run.name}: {reason}" for reason in reasons]
    console.print(*tally.faults, sep="\n") if tally.faults else None
    console.print(_report(tally, options, seconds))
    if tally.equal < options.number or tally.faults:
        raise SystemExit(1)


def differences(run: Path, other: Path) -> list[str]:
    """In what a run differs from another; empty when in nothing."""
    import torch

    from strokelab import runs

    reasons = []
    for name in FILES:
        if not (run / name).is_file() or (run / name).read_bytes() != (other / name).read_bytes():
            reasons.append(f"{name} differs")
    try:
        mine, theirs = (runs.read_checkpoint(place / "checkpoints/last.ckpt")["state_dict"] for place in (run, other))
    except RunError as error:
        return [*reasons, f"last.ckpt: {error.found}"]
    if mine.keys() != theirs.keys() or not all(torch.equal(mine[name], theirs[name]) for name in theirs):
        reasons.append("weights differ")
    return reasons


class _Start:
    """``train.py`` in a session of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become_training(arguments, folder)
        self.log = folder / "output.txt"

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def orphans(self) -> list[int]:
        """Processes of its session that live on although they had time to end."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (left := _session(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def _disturb(
    run: Path, settings: list[str], rng: random.Random, signals: Sequence[str], seconds: float, tally: Tally
) -> None:
    arguments = [*settings, f"run_dir={run}", "resume=auto"]
    for _ in range(rng.randint(1, 4)):
        name = rng.choice(signals)
        start = _Start(arguments, run.parent)
        time.sleep(rng.uniform(0.0, seconds))
        phase = _phase(run)
        with suppress(ProcessLookupError):
            os.kill(start.pid, getattr(signal, f"SIG{name}"))
        status = start.wait()
        tally.starts += 1
        if status == 0:
            tally.too_late += 1
            if '"finished"' not in (run / "status.json").read_text():
                tally.faults.append(f"{run.name}: SIG{name} in {phase}, exit status 0")
            break
        tally.heard[f"SIG{name} {phase}"] += 1
        if status not in EXPECTED[name]:
            tally.faults.append(f"{run.name}: SIG{name} {phase}, exit status {status}")
        if left := start.orphans():
            tally.faults.append(f"{run.name}: SIG{name} {phase} left processes {left}")
    status = _Start(arguments, run.parent).wait()
    tally.starts += 1
    if status:
        tally.faults.append(f"{run.name}: the last start ended with {status}")


def _phase(run: Path) -> str:
    if not (run / "status.json").is_file():
        return "before training"
    return "while scoring" if (run / "probabilities.csv").is_file() else "in training"


def _session(leader: int) -> list[int]:
    """Living processes of a session (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == leader and words[0] != "Z":
            found.append(int(place.parent.name))
    return found


def _become_training(arguments: Sequence[str], folder: Path) -> None:
    status = 70
    try:
        os.setsid()
        target = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(target, number)
        os.chdir(folder)
        sys.argv = [str(ROOT / "train.py"), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:  # before anything of ours listens; Python itself ends so, too
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _settings(folder: Path, processes: int) -> list[str]:
    """A cohort of nine scans at 8 mm and a network that trains on them in a second."""
    import strokelab.training  # noqa: F401  what every start would import
    from strokelab.phantoms.cohort import write_cohort

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["STROKELAB_STORE"], os.environ["STROKELAB_DATA"] = str(folder / "store"), str(folder / "data")
    root = write_cohort("atlas_v1", folder / "cohort", spacing=8.0, sites=3, cases_per_site=3, progress=False)
    settings = [
        "data=atlas_v1",
        f"data.root={root}",
        "data.n_sites=3",
        "data.batch_size=12",
        "data.prepare_workers=1",
        "view.preparation.crop=[24,28,null]",
        "view.preparation.offset=null",
        "view.sampler.min_brain_pixels=8",
        "model.network.base=4",
        "model.network.depth=3",
        "model.optimizer.lr=0.05",
        "model.loss.over=batch",
        "model.standardizer.bn_momentum=null",
        "callbacks.resume_point.every_n_steps=3",
        "callbacks.case_metrics.every_n_epochs=2",
        "callbacks.progress=null",
        "trainer.max_epochs=4",
        "trainer.log_every_n_steps=1",
    ]
    if processes > 1:
        settings += ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"]
        settings += ["trainer.precision=32-true"]
    return settings


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks kills", description=__doc__)
    parser.add_argument("--number", type=int, default=50, help="runs (default 50)")
    parser.add_argument("--processes", type=int, default=1, help="of each training (default 1)")
    parser.add_argument("--signals", nargs="+", default=["KILL", "TERM", "USR1"], choices=sorted(EXPECTED))
    parser.add_argument("--seed", type=int, default=0, help="of signals and moments")
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    return parser.parse_args(arguments)


def _report(tally: Tally, options: argparse.Namespace, seconds: float) -> str:
    heard = ", ".join(f"{name} {count}" for name, count in sorted(tally.heard.items()))
    return (
        f"{tally.equal} of {options.number} runs in {options.processes} process(es) ended with the numbers of a run "
        f"never disturbed ({seconds:.1f} s).\n{tally.starts} starts, {sum(tally.heard.values())} of them killed: "
        f"{heard}; {tally.too_late} ended before their signal."
    )
