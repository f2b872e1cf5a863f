"""Batches made ahead are the same, in order; errors come where they belong; announcing reads what it says."""

import threading

import numpy as np
import pytest

from strokelab.data import read_ahead
from strokelab.data.read_ahead import ahead, announce
from strokelab.errors import DataError

PAGE = 4096


def test_items_are_the_same_and_made_elsewhere_before_they_are_asked_for():
    made, third = [], threading.Event()

    def items():
        for number in range(5):
            made.append((number, threading.current_thread().name))
            if number == 2:
                third.set()
            yield number

    taken = ahead(items())
    assert next(taken) == 0
    assert third.wait(10)  # nobody has asked for it yet
    assert list(taken) == [1, 2, 3, 4]
    assert [number for number, _ in made] == [0, 1, 2, 3, 4]
    assert threading.current_thread().name not in {name for _, name in made}


def test_an_error_comes_in_place_of_its_item():
    def items():
        yield 0
        raise DataError("case", found="gone", expected="there", remedy="mend it")

    taken = ahead(items())
    assert next(taken) == 0
    with pytest.raises(DataError, match="mend it"):
        next(taken)


def test_no_thread_is_left_when_nobody_asks_further():
    def threads():
        return {thread for thread in threading.enumerate() if thread.name.startswith("reading")}

    before, taken = threads(), ahead(iter(range(100)))
    next(taken)
    assert threads() - before
    taken.close()
    assert not threads() - before


def test_a_thread_may_be_prepared():
    begun = []
    assert list(ahead(iter("ab"), lambda: begun.append(threading.current_thread().name))) == ["a", "b"]
    assert [name.startswith("reading") for name in begun] == [True]


@pytest.fixture
def announced(monkeypatch):
    calls = []
    monkeypatch.setattr(read_ahead, "_madvise", lambda address, length, advice: calls.append((address, length)))
    return calls


@pytest.mark.parametrize(
    ("shape", "start", "size"),
    [
        ((2, 64, 600, 20), (5, 30, 3), (32, 100, 10)),  # far apart: a piece for each slice
        ((1, 64, 60, 20), (5, 10, 3), (32, 40, 10)),  # close: one piece
        ((1, 64, 600, 20), (-8, -30, -3), (32, 100, 10)),  # over the lower border
        ((1, 64, 600, 20), (50, 550, 15), (32, 100, 10)),  # over the upper one
    ],
)
def test_what_is_announced_covers_the_box_and_little_more(announced, shape, start, size):
    channels, width, height, depth = shape
    source = np.zeros((channels, depth, height, width), dtype=np.float32).transpose(0, 3, 2, 1)
    announce(source, start, size)
    assert all(address % PAGE == 0 for address, _ in announced)
    inside = [range(max(b, 0), min(b + n, s)) for b, n, s in zip(start, size, shape[1:], strict=True)]
    for c in range(channels):
        for z in inside[2]:
            for y in (inside[1][0], inside[1][-1]):
                row = source[c, :, y, z].ctypes.data
                assert any(a <= row and row + 4 * width <= a + n for a, n in announced)
    first, end = source.ctypes.data - PAGE, source.ctypes.data + source.nbytes
    assert all(first < address and address + length <= end for address, length in announced)
    rows = channels * len(inside[2]) * (len(inside[1]) * width * 4 + PAGE + 16 * PAGE)
    assert sum(length for _, length in announced) <= rows


def test_nothing_is_announced_of_a_box_outside_or_where_the_system_cannot(announced, monkeypatch):
    source = np.zeros((1, 20, 30, 40), dtype=np.float32).transpose(0, 3, 2, 1)
    announce(source, (50, 0, 0), (8, 8, 8))
    assert announced == []
    monkeypatch.setattr(read_ahead, "_madvise", None)
    announce(source, (0, 0, 0), (8, 8, 8))


def test_the_system_takes_the_advice_on_a_mapped_file(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(2 * 8 * 6 * 4, dtype=np.float32).reshape(2, 4, 6, 8))
    source = np.load(tmp_path / "a.npy", mmap_mode="r").transpose(0, 3, 2, 1)
    announce(source, (1, 1, 1), (4, 3, 2))
    assert source[1, 7, 5, 3] == 2 * 8 * 6 * 4 - 1
