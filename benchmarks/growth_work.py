"""The pieces of work whose growth is measured, each in a process of its own: ``python -m benchmarks.growth_work``.

A process imports what its work needs, says "ready", waits for a line, works, and answers one line of JSON.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from benchmarks.measure import Watch

Answer = dict[str, Any]


def prepare(wait: Callable[[], None], root: str, store: str, crop: str) -> Answer:
    """The whole cohort into a store, or found there; ``prepared`` counts the cases that this process made."""
    from strokelab.data import read_cases
    from strokelab.preparation import store as room

    cases = read_cases("atlas_v1", Path(root))
    made: list[str] = []
    original = room.prepare

    def counted(case: Any, preparation: Any) -> Any:
        made.append(case.case_id)
        return original(case, preparation)

    room.prepare = counted
    recipe = room.Preparation(("T1w",), normalize="zscore_slice_brain", crop=(*json.loads(crop), None))
    wait()
    watch = Watch()
    ready = room.PreparedStore(store).prepare(cases, recipe, progress=False)
    return {**watch.read(), "cases": len(ready), "prepared": made}


def train(wait: Callable[[], None], clock: str, *settings: str) -> Answer:
    """``train.py`` as it is, its epochs timed by a callback; the last one counts, whose workers have started."""
    import strokelab.training  # noqa: F401

    node = "+callbacks.clock"
    sys.argv = ["train.py", *settings, f"{node}._target_=benchmarks.growth_clock.EpochClock", f"{node}.file='{clock}'"]
    wait()
    runpy.run_path("train.py", run_name="__main__")
    epochs: list[dict[str, float]] = json.loads(Path(clock).read_text())
    return {**epochs[-1], "first": epochs[0]["seconds"]}


def score(wait: Callable[[], None], run_folder: str, store: str) -> Answer:
    """Predict and score the run's test part and write its tables, as the last step of a training does."""
    from strokelab import runs
    from strokelab.data import read_cases
    from strokelab.phantoms.naming import of_phantoms
    from strokelab.preparation.store import PreparedStore
    from strokelab.scoring import score_cases, write_scores

    run = runs.load_run(run_folder)
    cohort, test = run.settings["cohort"], set(run.split.test)
    cases = [case for case in read_cases(cohort["dataset"], cohort["root"]) if case.case_id in test]
    stored = PreparedStore(store).prepare(cases, run.view.preparation, progress=False)
    wait()
    watch = Watch()
    scores = score_cases(run, cases, stored, phantom=bool(of_phantoms(cohort)), progress=False)
    write_scores(scores, run.folder / runs.CASES, run.folder / runs.PROBABILITIES)
    assert not scores.cases["error"].any(), scores.cases["error"].tolist()
    return {**watch.read(), "cases": len(cases)}


def report(wait: Callable[[], None], run_folder: str, store: str, out: str) -> Answer:
    """``evaluate.py`` from the run's own tables: statistics, overlays of a few cases, the page."""
    import strokelab.evaluation.command
    from strokelab import runs

    cases = len(runs.read_split(Path(run_folder)).test)
    sys.argv = ["evaluate.py", f"runs=['{run_folder}']", f"store='{store}'", f"out='{out}'", "save_predictions=false"]
    assert strokelab.evaluation.command
    wait()
    watch = Watch()
    runpy.run_path("evaluate.py", run_name="__main__")
    return {**watch.read(), "cases": cases}


WORK: dict[str, Callable[..., Answer]] = {"prepare": prepare, "train": train, "score": score, "report": report}


@contextmanager
def _answers() -> Iterator[TextIO]:
    """The standard output for the answer alone; what the work prints goes to standard error."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        yield answers


def main() -> None:
    """Do the named work."""
    with _answers() as answers:

        def wait() -> None:
            print("ready", file=answers, flush=True)
            sys.stdin.readline()

        name, *words = sys.argv[1:]
        answer = WORK[name](wait, *words)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
