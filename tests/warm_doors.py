"""The commands of the house without seconds of imports: a process that has imported everything forks for each command.

What runs is the real thing (``train.py`` as ``__main__`` with ``sys.argv``, in a process of its own with its own
folder and environment); only the imports are shared, and the figures of a report are blank. It can be killed from
outside, or kill itself at a named moment.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from own_processes import hear_signals, none_left
from sketches import sketch

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Done:
    """How a command ended; killed by signal n: status -n."""

    status: int
    output: str

    def check(self) -> "Done":
        assert self.status == 0, self.output
        return self


class Running:
    """A command under way."""

    def __init__(self, doors: "Doors", pid: int, log: Path) -> None:
        self.doors, self.pid, self.log = doors, pid, log

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Done:
        status = self.doors.ask(wait=self.pid)["status"]
        return Done(status, self.log.read_text(errors="replace"))


class Doors:
    """``train``, ``evaluate`` and ``strokelab``, warm."""

    def __enter__(self) -> "Doors":
        self._end = ExitStack()
        mark = self._end.enter_context(none_left())
        # Wide: tables must not break the words that tests look for.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400", **mark}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._count = 0
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        with self._end:  # commands that still run end, too
            self._server.stdin.close()
            self._server.wait(timeout=30)

    def ask(self, **question: object) -> dict:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(question) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(
        self,
        door: str,
        *arguments: str,
        cwd: Path,
        kill_at: tuple[str, int] | tuple[str, int, int] | None = None,
        env: dict[str, str] | None = None,
    ) -> Running:
        """Start a command. ``kill_at=("package.module.Class.method", n)``: SIGKILL itself before the n-th call.

        A third item is another signal.
        """
        self._count += 1
        logs = Path(os.environ["STROKELAB_STORE"]).parent / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{os.getpid()}-{self._count}-{door}.txt"
        places = {name: os.environ[name] for name in ("STROKELAB_STORE", "STROKELAB_DATA")}
        answer = self.ask(
            door=door,
            arguments=[str(argument) for argument in arguments],
            cwd=str(cwd),
            log=str(log),
            kill_at=kill_at,
            env={**places, **(env or {})},
        )
        return Running(self, answer["pid"], log)

    def train(self, *arguments: str, cwd: Path, **settings) -> Done:
        return self.start("train", *arguments, cwd=cwd, **settings).wait()

    def evaluate(self, *arguments: str, cwd: Path, **settings) -> Done:
        return self.start("evaluate", *arguments, cwd=cwd, **settings).wait()

    def strokelab(self, *arguments: str, cwd: Path, **settings) -> Done:
        return self.start("strokelab", *arguments, cwd=cwd, **settings).wait()


def _serve() -> None:
    import hydra.compose  # noqa: F401
    import nilearn.datasets  # noqa: F401

    import strokelab.cli
    import strokelab.evaluation.command
    import strokelab.training  # noqa: F401

    sketch(blank=True)
    gc.collect()
    gc.freeze()  # else each fork's first collections copy all of this, page by page
    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            status = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
            answer = {"status": status}
        else:
            pid = os.fork()
            if pid == 0:
                _child(**question)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # nothing to tidy; torch takes its time to leave


def _child(door: str, arguments: list[str], cwd: str, log: str, kill_at: list | None, env: dict[str, str]) -> None:
    status = 70
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, number in ((nothing, 0), (target, 1), (target, 2)):
            os.dup2(source, number)
        os.environ.update(env)
        sys.path[:0] = env.get("PYTHONPATH", "").split(os.pathsep) if "PYTHONPATH" in env else []
        os.chdir(cwd)
        _take_rank()
        hear_signals()
        if kill_at:
            _kill_before(*kill_at)
        status = _run(door, arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _take_rank() -> None:
    """Which process of a training this is; Lightning looks at it while it is imported, which was before."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    rank_zero_only.rank = int(os.environ.get("RANK", 0))


def _run(door: str, arguments: list[str]) -> int:
    import runpy

    try:
        if door == "strokelab":
            from strokelab.cli import main

            sys.argv = ["strokelab", *arguments]
            main()
        else:
            path = str(ROOT / f"{door}.py")
            sys.argv = [path, *arguments]
            runpy.run_path(path, run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _kill_before(name: str, call: int, number: int = signal.SIGKILL) -> None:
    import importlib

    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:cut]))
            break
        except ImportError:
            continue
    for part in parts[cut:-1]:
        owner = getattr(owner, part)
    original = getattr(owner, parts[-1])
    count = 0

    def counted(*args, **kwargs):
        nonlocal count
        count += 1
        if count == call:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(owner, parts[-1], counted)


if __name__ == "__main__":
    _serve()
