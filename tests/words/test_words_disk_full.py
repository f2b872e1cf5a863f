"""No room for a file: said with what is free, the old file stands, no half of a new one lies about.

The limit of a file's size gives the same errors as a full disk, and needs no disk of its own.
"""

import resource
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch

from strokelab.callbacks.checkpoint_file import CheckpointFile
from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.data import read_cases
from strokelab.errors import DataError
from strokelab.files import DiskFullError, disk_errors, replacing, write_text
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore, StoreError
from strokelab.runs.checkpoints import read_checkpoint
from strokelab.scoring import write_table


@contextmanager
def room_for(size):
    """Files of this process may have so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save(path):
    CheckpointFile().save_checkpoint({"state_dict": {"weight": torch.zeros(100_000)}}, path)


WRITERS = {
    "text": lambda path: write_text(path, "x" * 100_000),
    "checkpoint": save,
    "table": lambda path: write_table(pd.DataFrame({"x": np.arange(20_000)}), path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("before", ["", "what was there"])
def test_what_was_there_stands(write, before, tmp_path):
    path = tmp_path / "a.ckpt"
    if before:
        path.write_text(before)
    with room_for(50_000), pytest.raises(DiskFullError) as caught:
        write(path)
    assert str(path) in str(caught.value)
    assert "MiB free" in caught.value.found
    assert "0.00 MiB, as before" in caught.value.expected if before else "more than 0.0" in caught.value.expected
    assert "resume=RUN" in caught.value.remedy
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == ({path.name: before} if before else {})


def test_a_checkpoint_is_written_as_pytorch_writes_it(tmp_path):
    save(tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["state_dict"]["weight"].shape == (100_000,)


def test_other_errors_are_nobodys_disk(tmp_path):
    def missing():
        with replacing(tmp_path / "a") as temporary:
            temporary.with_name("elsewhere").rename(temporary)

    with pytest.raises(FileNotFoundError):
        missing()
    with pytest.raises(RuntimeError, match="mine"), disk_errors(tmp_path / "a"):
        raise RuntimeError("mine")


def test_rows_are_appended_or_the_disk_is_named(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.log_metrics({"loss": 1.0}, 0)
    metrics.save()
    for step in range(1, 5000):
        metrics.log_metrics({"loss": 1.0 / step}, step)
    with room_for(50_000), pytest.raises(DiskFullError, match=r"metrics\.csv"):
        metrics.save()
    again = MetricsFile(tmp_path / "metrics.csv", resumed_step=2)
    again.log_metrics({"loss": 0.5}, 2)
    again.save()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["epoch,step,loss", ",0,1.0", ",1,1.0", ",2,0.5"]


@pytest.mark.parametrize("size", [300, 15_000], ids=["descriptions", "arrays"])
def test_the_prepared_store_keeps_what_is_whole(size, t1_cohort, tmp_path):
    cases = read_cases("atlas_v1", t1_cohort)[:2]
    store = PreparedStore(tmp_path / "store")
    with room_for(size), pytest.raises(StoreError) as caught:
        store.prepare(cases, Preparation(("T1w",)), progress=False)
    assert isinstance(caught.value, DataError)
    assert "MiB free" in caught.value.found
    assert "data.store=DIR" in caught.value.remedy
    assert not [path for path in (tmp_path / "store").rglob("*.npy") if path.stat().st_size]
    assert len(store.prepare(cases, Preparation(("T1w",)), progress=False)) == 2
