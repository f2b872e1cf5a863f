"""Whole or absent: names, temporary files, digests, locks."""

import json
import multiprocessing
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strokelab.errors import DataError
from strokelab.files import digest, file_digest, locked, make_folder, natural_key, replacing, write_json, write_text


def test_numbers_sort_as_numbers_and_letters_without_case():
    names = ["Site10", "site2", "Site1", "a1b10", "a1b9", "", "10", "9", "R038"]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a1b9", "a1b10", "R038", "Site1", "site2", "Site10"]


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_names_can_be_sorted(names):
    assert sorted(sorted(names, key=natural_key), key=natural_key) == sorted(names, key=natural_key)


@pytest.mark.parametrize("content", ["short", "", "ü" * 10_000])
def test_text_is_written_whole(content, tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    write_text(path, content)
    assert path.read_text(encoding="utf-8") == content
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")

    def interrupted(target, write):
        with replacing(target) as temporary:
            assert temporary.name.endswith(target.name)
            assert temporary.name.startswith(".")
            write(temporary)
            raise RuntimeError

    def a_folder(temporary):
        temporary.mkdir()
        (temporary / "x").write_text("")

    with pytest.raises(RuntimeError):
        interrupted(path, lambda temporary: temporary.write_text("half"))
    with pytest.raises(RuntimeError):
        interrupted(tmp_path / "folder", a_folder)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_wrote_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


plain = st.integers() | st.floats(allow_nan=False) | st.lists(st.text())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.text(), plain, max_size=4))
def test_json_comes_back(content, tmp_path):
    write_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text()) == content


@given(st.dictionaries(st.text(max_size=3), st.integers(), min_size=2, max_size=5))
def test_digests_depend_on_content_and_not_on_order(content):
    backwards = dict(reversed(content.items()))
    assert digest(content) == digest(backwards)
    assert re.fullmatch("[0-9a-f]{32}", digest(content))
    key = next(iter(content))
    assert digest({**content, key: content[key] + 1}) != digest(content)


def test_digests_tell_types_and_nesting_apart():
    contents = [1, 1.5, "1", [1], {"a": 1}, {"a": [1]}, None, True, [[1], 2], [1, [2]]]
    assert len({digest(content) for content in contents}) == len(contents)


def test_digests_of_files(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").write_bytes(b"x" * 99_999 + b"y")
    (tmp_path / "c").write_bytes(b"x" * 100_000)
    a, b, c = (file_digest(tmp_path / name) for name in "abc")
    assert a == c != b
    with pytest.raises(DataError, match="gone"):
        file_digest(tmp_path / "gone")


def test_folders_are_made_or_refused(tmp_path):
    folder = make_folder(tmp_path / "a" / "b")
    assert list(make_folder(folder).iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(DataError, match="choose another output folder"):
            make_folder(path)


def hold(path, taken, release):
    with locked(path) as free:
        assert free
        taken.set()
        release.wait(30)


def test_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    taken, release = context.Event(), context.Event()
    path = tmp_path / "deep" / "lock"
    other = context.Process(target=hold, args=(path, taken, release))
    other.start()
    assert taken.wait(60)
    with locked(path, timeout_seconds=0) as free:
        assert not free
    release.set()
    with locked(path) as free:  # waits for the other to end
        assert free
    other.join()
    assert other.exitcode == 0


def test_a_lock_of_the_dead_is_free(tmp_path):
    context = multiprocessing.get_context("spawn")
    taken, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "lock", taken, release))
    other.start()
    assert taken.wait(60)
    other.kill()
    other.join()
    with locked(tmp_path / "lock", timeout_seconds=5) as free:
        assert free
