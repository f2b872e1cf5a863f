"""What wandb wrote offline, read back: records of protobuf in LevelDB's blocks, media and artifacts beside them."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path


def leveldb_records(content, block=2**15):
    """The records of a LevelDB log after wandb's header of 7 bytes: parts of at most a block, each behind 7 bytes."""
    at, record = 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:  # no room for a part before the block ends
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        if at + 7 + length > len(content):
            return  # still being written
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


@dataclass
class OfflineRun:
    """One offline folder."""

    folder: Path
    run: object = None  # id, project, name, group, job_type, tags
    config: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    summary: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)  # name -> its definition
    artifacts: list = field(default_factory=list)
    arguments: list = field(default_factory=list)  # of the command, as wandb saw it
    exit_code: int | None = None

    def values(self):
        """(name, step) -> number, without the test part."""
        found = {}
        for row in self.history:
            for name, value in row.items():
                if name != "trainer/global_step" and not name.startswith(("_", "test/")):
                    key = name, row["trainer/global_step"]
                    assert key not in found, f"{key} stands twice"
                    found[key] = value
        return found

    def table(self, key):
        content = json.loads((self.folder / "files" / self.summary[key]["path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def pictures(self):
        return sorted(self.folder.glob("files/media/images/**/*.png"))


def offline_runs(folder):
    """The parts of a run folder that ended, oldest first."""
    return [read_ended(path) for path in sorted(folder.glob("wandb/offline-run-*"))]


def read_ended(folder, timeout=60):
    """A part once its last record is there: wandb's own process writes it a moment after the run has ended."""
    until = time.monotonic() + timeout
    while (found := read_offline(folder)).exit_code is None:
        assert time.monotonic() < until, f"{folder} has no end"
        time.sleep(0.02)
    return found


def read_offline(folder):
    from wandb.proto.wandb_internal_pb2 import Record

    found = OfflineRun(folder)
    (path,) = folder.glob("*.wandb")
    for content in leveldb_records(path.read_bytes()):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            _put(found.config, record.run.config.update)
        elif kind == "config":
            _put(found.config, record.config.update)
        elif kind == "history":
            found.history.append(_put({}, record.history.item))
        elif kind == "summary":
            _put(found.summary, record.summary.update)
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "environment":
            found.arguments += record.environment.args
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _put(target, items):
    """Values under their keys; wandb names those of a dictionary one by one or all at once, as it likes."""
    for item in items:
        *place, last = [item.key] if item.key else item.nested_key
        node = target
        for name in place:
            node = node.setdefault(name, {})
        node[last] = json.loads(item.value_json)
    return target
