"""Real processes on one store: shared work, killed jobs, dead workers."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from preparation_cases import head

from strokelab.preparation.parallel import WorkerDiedError, outcomes
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.store import PreparedStore

SHAPE = (10, 12, 8)
T1W = Preparation(("T1w",))

JOB = """
import logging, pickle, sys
from pathlib import Path
from strokelab.preparation import stored_case, store
from strokelab.preparation.recipe import Preparation
if __name__ == "__main__":
    folder, pickled, workers, hang_at = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    cases = pickle.loads(Path(pickled).read_bytes())
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(message)s")
    writes = 0
    save = stored_case.np.save
    def hanging(path, array):
        global writes
        writes += 1
        if writes == hang_at:
            import time
            save(path, array)
            Path(folder, "hanging").touch()
            time.sleep(600)
        save(path, array)
    stored_case.np.save = hanging
    found = store.PreparedStore(folder).prepare(cases, Preparation(("T1w",)), workers=workers, progress=False)
    print("sum", sum(float(stored.load().image[0].sum()) for stored in found))
"""


@pytest.fixture
def start(tmp_path):
    """``start(cases, workers, hang_at)`` runs a job on the store of ``tmp_path`` in a process of its own."""
    script = tmp_path / "job.py"
    script.write_text(JOB)
    running = []

    def begin(cases, workers=1, hang_at=0):
        (tmp_path / "cases.pkl").write_bytes(pickle.dumps(cases))
        command = [sys.executable, script, tmp_path / "store", tmp_path / "cases.pkl", str(workers), str(hang_at)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_eight_jobs_on_one_store_prepare_each_case_once(make_case, start):
    cases = [make_case(f"c{i}", images={"T1w": head((48, 48, 40), i)}, shape=(48, 48, 40)) for i in range(12)]
    jobs = [start(cases) for _ in range(8)]
    texts = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 8, texts
    prepared = sorted(line.split()[1] for text in texts for line in text.splitlines() if "prepared, brain" in line)
    assert prepared == sorted(case.case_id for case in cases)
    assert len({line for text in texts for line in text.splitlines() if line.startswith("sum")}) == 1


@pytest.mark.slow
def test_a_killed_job_is_continued(make_case, start, tmp_path):
    cases = [make_case(f"c{i}") for i in range(5)]
    job = start(cases, hang_at=5)  # two arrays a case: within the third
    wait_for((tmp_path / "store" / "hanging").exists)
    job.send_signal(signal.SIGKILL)
    job.wait()
    entries = {path.parent: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("??/*/case.json")}
    assert len(entries) == 2
    left = [path for path in (tmp_path / "store").glob("??/.*") if path.is_dir()]
    assert len(left) == 1

    found = PreparedStore(tmp_path / "store").prepare(cases, T1W, progress=False)
    assert {path: (path / "case.json").stat().st_mtime_ns for path in entries} == entries
    assert not left[0].exists()
    for case, stored in zip(cases, found, strict=True):
        np.testing.assert_array_equal(stored.load().image, prepare(case, T1W).image)


@pytest.mark.slow
def test_a_job_leaves_a_busy_case_to_the_other_and_does_the_rest(make_case, start, tmp_path):
    cases = [make_case(f"c{i}") for i in range(3)]
    first = start(cases, hang_at=1)
    wait_for((tmp_path / "store" / "hanging").exists)
    second = start(cases)
    wait_for(lambda: len(list((tmp_path / "store").glob("??/*/case.json"))) == 2)  # all but the busy one
    assert second.poll() is None
    first.kill()  # its lock goes with it
    text, _ = second.communicate(timeout=60)
    assert second.returncode == 0, text
    assert text.count("prepared, brain") == 3


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(make_case, start):
    shape = (96, 96, 80)
    cases = [make_case(f"c{i}", images={"T1w": head(shape, i)}, shape=shape) for i in range(16)]
    job = start(cases, workers=2)
    parent = psutil.Process(job.pid)
    wait_for(lambda: sum("spawn_main" in " ".join(child.cmdline()) for child in parent.children()) == 2)
    children = parent.children()
    job.kill()
    job.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def fail_at_two(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)
    return number * 10


@pytest.mark.slow
def test_a_dead_worker_is_told_with_the_jobs_at_hand():
    with pytest.raises(WorkerDiedError) as error:
        list(outcomes(fail_at_two, [0, 1, 2, 3, 4, 5], 2))
    assert 2 in error.value.jobs
    assert len(error.value.jobs) <= 2


def test_one_worker_works_here():
    here = list(outcomes(lambda number: (number, os.getpid()), [1, 2], 1))
    assert here == [(1, (1, os.getpid())), (2, (2, os.getpid()))]
