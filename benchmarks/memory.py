"""Commands run to their end while somebody watches their memory, children included. Knows no contestant."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import ROOT

_MIB = 2**20
_EVERY_SECONDS = 0.05  # a peak that is shorter is not seen


@dataclass(frozen=True)
class Watched:
    """What commands answered, and the most memory they and their children had at one moment, all together."""

    answers: list[dict[str, Any]]
    seconds: float  # from the start signal to the end of the last
    resident_mib: float  # RSS: pages of mapped files count once per process, the store's among them
    own_mib: float  # RSS without what is mapped from files or shared


@dataclass
class _Peaks:
    resident: float = 0.0
    own: float = 0.0
    children: frozenset[int] = frozenset()  # of the last look

    def look(self, roots: Sequence[psutil.Process]) -> None:
        resident = own = 0
        children = _children(roots)
        # A child counts from the second look on: until it becomes another program it seems as large as its parent.
        older = [child for child in children if child.pid in self.children]
        self.children = frozenset(child.pid for child in children)
        for process in (*roots, *older):
            try:
                info = process.memory_info()
            except psutil.Error:  # it ended meanwhile
                continue
            resident += info.rss
            own += info.rss - getattr(info, "shared", 0)  # only Linux tells them apart
        self.resident, self.own = max(self.resident, resident / _MIB), max(self.own, own / _MIB)


def watched(commands: Sequence[Sequence[str | Path]], log: Path) -> Watched:
    """Start Python commands, let them go at the same moment, and wait for all.

    Args:
        commands: words after ``python``. Each says "ready", waits for a line, and ends with one line of JSON, its
            answer (``answering``).
        log: what they print besides.

    Raises:
        RuntimeError: one failed; the message ends with what it printed.
    """
    with log.open("w") as printed:
        started = [_started(words, printed) for words in commands]
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        peaks, roots = _Peaks(), [psutil.Process(process.pid) for process in started]
        begin = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            try:
                process.stdin.write("go\n")
                process.stdin.close()
            except BrokenPipeError:  # it ended before; its status is looked at below
                pass
        while any(process.poll() is None for process in started):
            peaks.look(roots)
            time.sleep(_EVERY_SECONDS)
        seconds = time.perf_counter() - begin
    answers = []
    for words, process in zip(commands, started, strict=True):
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        if process.returncode or not lines:
            text = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(str, words))} ended with status {process.returncode}\n{text}")
        answers.append(json.loads(lines[-1]))
    return Watched(answers, seconds, peaks.resident, peaks.own)


def _started(words: Sequence[str | Path], printed: Any) -> subprocess.Popen[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed, text=True)


def _children(roots: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = []
    for root in roots:
        try:
            found += root.children(recursive=True)
        except psutil.Error:
            continue
    return found
