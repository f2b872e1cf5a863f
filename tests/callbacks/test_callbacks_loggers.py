"""One training, three loggers: the same names and the same values in each, read back from their files."""

import csv
import json
import struct

import pytest
from tiny_runs import SHORT_MAIN

from strokelab.callbacks.weights_and_biases import WeightsAndBiases, has_key


def csv_values(run):
    with (run / "metrics.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {
        (name, int(row["step"])): float(text) for row in rows for name, text in row.items() if name != "step" and text
    }


def tensorboard_values(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {(tag, event.step): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}


def wandb_values(run):
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = run.glob("wandb/offline-run-*/*.wandb")
    values = {}
    for content in leveldb_records(path.read_bytes()):
        record = Record.FromString(content)
        if record.WhichOneof("record_type") != "history":
            continue
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        step = items.pop("trainer/global_step")
        values |= {(name, step): value for name, value in items.items() if not name.startswith("_")}
    return values


def leveldb_records(content, block=2**15):
    """The records of a LevelDB log after wandb's header of 7 bytes: parts of at most a block, each behind 7 bytes."""
    at, record = 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:  # no room for a part before the block ends
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


@pytest.mark.slow
def test_the_same_names_and_values_in_csv_tensorboard_and_wandb(tiny, doors, tmp_path):
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    environment = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    settings = ["logger=[tensorboard,wandb]", "callbacks.case_metrics.every_n_epochs=1", "score_test=false"]
    doors.train(*tiny, SHORT_MAIN, *settings, f"run_dir={run}", cwd=tmp_path, env=environment).check()
    expected = csv_values(run)
    names = {name for name, _ in expected}
    assert {"train/loss", "val/loss", "val/pooled_dice", "val/dice", "val/hd95", "val/hd95_infinite"} <= names
    assert {"val/micro_dice", "val/cases", "val/failed_cases", "site/accuracy", "main/gamma_mean"} <= names
    assert wandb_values(run) == expected
    found = tensorboard_values(run)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-7), "TensorBoard keeps float32"


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """No key, no mode, no home of the user's."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_without_a_key_wandb_writes_files(nobody, monkeypatch, tmp_path):
    assert not has_key()
    assert WeightsAndBiases(tmp_path).mode == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert WeightsAndBiases(tmp_path).mode == "online"


def test_a_login_on_this_machine_is_for_its_server(nobody, monkeypatch):
    nobody.write_text("machine wandb.example.org login user password secret\n")
    nobody.chmod(0o600)
    assert not has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert has_key()
    nobody.write_text("machine\n")
    assert not has_key(), "a file nobody can read is no login"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_what_the_user_asks_for_is_done(mode, nobody, monkeypatch, tmp_path):
    assert WeightsAndBiases(tmp_path, mode=mode).mode == mode
    monkeypatch.setenv("WANDB_MODE", mode)
    assert WeightsAndBiases(tmp_path).mode == mode
    assert WeightsAndBiases(tmp_path, mode="offline").mode == "offline"
