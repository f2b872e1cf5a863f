"""A packed model that was changed, damaged or made by an attacker: a clear error, and nothing is written elsewhere."""

import hashlib
import json
import os
import zipfile

import pytest

from strokelab.errors import DataWarning, RunError
from strokelab.runs.packed import FORMAT, open_packed

CONFIG = "runs/m/config.yaml"
MEMBERS = {"model_card.md": b"# m", CONFIG: b"name: m\n", "runs/m/checkpoints/last.safetensors": b"weights"}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKELAB_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def written(path, members=MEMBERS, *, listed=None, packing=zipfile.ZIP_STORED, manifest=None):
    """A file in the format, written here once more by its description."""
    listed = members if listed is None else listed
    entries = {n: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for n, raw in listed.items()}
    content = {"format": FORMAT, "licence": "MIT", "runs": ["m"], "members": entries} | (manifest or {})
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("manifest.json", json.dumps(content))
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path


def test_what_was_packed_is_unpacked_once(tmp_path, store):
    path = written(tmp_path / "m.zip")
    (folder,) = open_packed(path).folders
    assert {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()} == {
        "config.yaml": b"name: m\n",
        "checkpoints/last.safetensors": b"weights",
    }
    assert folder.is_relative_to(store / "models")
    made = (folder / "config.yaml").stat().st_mtime_ns
    assert open_packed(path).folders == (folder,)
    assert (folder / "config.yaml").stat().st_mtime_ns == made
    (folder / "config.yaml").write_bytes(b"name: X\n")  # an unpacked copy that was changed is made anew
    (folder / "evil.py").write_bytes(b"")
    assert open_packed(path).folders == (folder,)
    assert (folder / "config.yaml").read_bytes() == b"name: m\n"
    assert not (folder / "evil.py").exists()


def test_a_member_that_was_changed_after_packing_is_named(tmp_path):
    open_packed(written(tmp_path / "m.zip"))  # also where the copy in the store is right
    written(tmp_path / "m.zip", MEMBERS | {"runs/m/checkpoints/last.safetensors": b"WEIGHTS"}, listed=MEMBERS)
    with pytest.raises(RunError, match=r"last\.safetensors is not as it was packed") as error:
        open_packed(tmp_path / "m.zip")
    assert "pack the run again" in error.value.remedy


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "/tmp/evil", "runs/../../evil/config.yaml", "runs/m/../config.yaml", "runs/m/evil.pkl"),
        *(
            "runs/m/checkpoints/last.ckpt",
            "runs/.m/config.yaml",
            "evil.py",
            "runs\\m\\config.yaml",
            "runs/m/sub/config.yaml",
        ),
    ],
)
def test_names_that_lead_elsewhere_are_an_error(tmp_path, store, name):
    with pytest.raises(RunError, match="a member called"):
        open_packed(written(tmp_path / "m.zip", MEMBERS | {name: b"evil"}))
    assert not store.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.zip"]


def test_a_member_too_many_or_too_few_is_an_error(tmp_path):
    for members in (MEMBERS | {"runs/m/sites.json": b"{}"}, {CONFIG: MEMBERS[CONFIG]}):
        with pytest.raises(RunError, match="members where the manifest has"):
            open_packed(written(tmp_path / "m.zip", members, listed=MEMBERS))
    written(tmp_path / "m.zip")
    with zipfile.ZipFile(tmp_path / "m.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(CONFIG, b"name: m\n")
    with pytest.raises(RunError, match="members where the manifest has"):
        open_packed(tmp_path / "m.zip")


def test_a_bomb_is_an_error_before_it_is_unpacked(tmp_path, store):
    bomb = MEMBERS | {"runs/m/checkpoints/last.safetensors": bytes(50_000_000)}
    path = written(tmp_path / "m.zip", bomb, packing=zipfile.ZIP_DEFLATED)
    with pytest.raises(RunError, match=r"50 MB in a file of 0 MB"):
        open_packed(path)
    assert not store.exists()


@pytest.mark.parametrize(
    "manifest",
    [
        *({"format": "other/1"}, {"runs": []}, {"runs": ["../m"]}, {"runs": "m"}, {"licence": None}, {"members": []}),
        *(
            {"members": {CONFIG: {"bytes": "8", "sha256": "0" * 64}}},
            {"members": {CONFIG: {"bytes": 8, "sha256": "0"}}},
        ),
    ],
    ids=str,
)
def test_another_manifest_is_an_error(tmp_path, manifest):
    with pytest.raises(RunError, match="no packed model"):
        open_packed(written(tmp_path / "m.zip", manifest=manifest))


def test_what_is_no_packed_model_is_an_error(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    whole = written(tmp_path / "m.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    for name in ("text.zip", "other.zip", "cut.zip", "absent.zip"):
        with pytest.raises(RunError, match="no packed model"):
            open_packed(tmp_path / name)


def test_where_the_store_cannot_be_written_a_temporary_folder_serves(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STROKELAB_STORE", str(tmp_path / "file" / "store"))  # below a file: for root, too
    path = written(tmp_path / "m.zip", manifest={"licence": ""})
    with pytest.warns(DataWarning, match="names no licence"):
        (folder,) = open_packed(path).folders
    assert (folder / "config.yaml").read_bytes() == b"name: m\n"
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: os.mkdir(tmp_path / "file" / "x"))
    with pytest.raises(RunError, match="no place to unpack it") as error:
        open_packed(path)
    assert "STROKELAB_STORE" in error.value.remedy
