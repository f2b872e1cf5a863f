"""Signals as they come: heard, waited with, repeated; what SLURM is asked, and when."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from strokelab.callbacks.preemption import Stopped, StopRequest, requeue

ROOT = Path(__file__).resolve().parents[2]


def send(name):
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGUSR1", 143), ("SIGINT", 130)])
def test_a_signal_ends_the_work_with_its_status(name, status):
    stop = StopRequest()
    with stop.listening(), pytest.raises(Stopped) as stopped:
        send(name)
    assert stopped.value.code == status
    assert stopped.value.signal == stop.signal == name


def test_inside_steps_it_waits_until_somebody_looks():
    stop = StopRequest()
    with stop.listening():
        stop.wait_for_step = True
        send("SIGTERM")
        send("SIGTERM")  # an echo, to the group of the process
        assert stop.requested
        with pytest.raises(Stopped):
            stop.act()


def test_afterwards_everything_is_as_before():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    stop = StopRequest()
    with stop.listening():
        assert [signal.getsignal(signal.SIGTERM)] != before[:1]
        with stop.listening():  # a second listener changes nothing
            pass
        assert [signal.getsignal(signal.SIGTERM)] != before[:1]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_what_another_takes_is_taken_back():
    stop = StopRequest()
    with stop.listening():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.hear_again()
        with pytest.raises(Stopped):
            send("SIGTERM")


def test_only_the_main_thread_hears():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopRequest().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_end_is_recorded_once():
    stop, calls = StopRequest(), []
    stop.on_end = calls.append
    stop.signal = "SIGTERM"
    stop.end()
    stop.end("SIGINT")
    assert calls == ["SIGTERM"]


def test_a_second_signal_ends_a_process_that_hangs_in_c():
    """As in a collective operation whose other side is gone: Python's own handlers are never called there."""
    code = """
        import ctypes, sys
        from strokelab.callbacks.preemption import StopRequest
        stop = StopRequest()
        with stop.listening():
            stop.on_end = lambda name: print("recorded", name, flush=True)
            stop.wait_for_step = True
            mutex = ctypes.create_string_buffer(64)
            print("here", flush=True)
            for _ in range(2):
                ctypes.CDLL(None).pthread_mutex_lock(mutex)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    out, err = process.communicate()
    assert process.returncode == 143
    assert out == "recorded SIGTERM\n"
    assert "leaving at once" in err


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A stand-in ``scontrol`` that notes what it is asked."""
    note, tool = tmp_path / "asked.txt", tmp_path / "scontrol"
    tool.write_text(
        '#!/bin/sh\n[ "$1" = requeue ] || { echo "JobId=$4 PreemptTime=${PREEMPTED:-None}"; exit; }\n'
        f'[ "$2" != 13 ] || {{ echo no such job >&2; exit 1; }}\necho "$@" >> {note}\n'
    )
    tool.chmod(0o755)
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return note


def test_slurm_is_asked_for_the_job_or_its_part_of_an_array(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert requeue("SIGUSR1") == "requeued"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "11")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert requeue("SIGUSR1") == "requeued"
    assert slurm.read_text().splitlines() == ["requeue 12", "requeue 11_4"]


@pytest.mark.parametrize(("name", "job"), [("SIGTERM", "12"), ("SIGINT", "12"), (None, "12"), ("SIGUSR1", "")])
def test_a_users_own_wish_starts_nothing_again(name, job, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", job)
    assert requeue(name) == ""
    assert not slurm.exists(), "nothing was asked"


def test_a_preemption_by_sigterm_alone_is_slurms_wish(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("PREEMPTED", "2026-11-21T10:00:00")
    assert requeue("SIGTERM") == "requeued"
    assert slurm.read_text() == "requeue 12\n"


def test_why_a_job_could_not_be_started_again_is_said(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert "no such job" in requeue("SIGUSR1")
    monkeypatch.setenv("SLURM_JOB_ID", "12; rm -rf /")
    assert "no SLURM job id" in requeue("SIGUSR1")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("PATH", "")
    assert "scontrol requeue 12" in requeue("SIGUSR1")


def test_a_process_ends_with_its_first(tmp_path):
    if sys.platform != "linux":
        pytest.skip("the signal at the parent's death is Linux's")
    code = """
        import os, subprocess, sys, time
        child = "import sys, time; from strokelab.processes import end_with; end_with(int(sys.argv[1]))"
        child += "; print('ready', flush=True); time.sleep(60)"
        started = subprocess.Popen([sys.executable, "-c", child, str(os.getpid())])
        time.sleep(60)
    """
    first = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    first.kill()
    first.wait()
    assert first.stdout.read() == "", "the other one, which would hold it for a minute, is gone"
