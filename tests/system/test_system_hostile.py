"""What the author of a run folder could try against its reader: nothing runs, nothing is written, removed or filled.

Every attack is a real folder, given to the real command or to ``load_run``; afterwards the reader's other files are as
they were, byte for byte, and the message names the file and the place in it.
"""

import os
import pickle
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from strokelab.errors import StrokelabError
from strokelab.runs import load_run

HIDDEN = "do-not-tell"


@dataclass
class Scene:
    """A run folder, and what lies around it."""

    run: Path
    outside: Path  # files of the reader's

    @property
    def canary(self) -> Path:
        return self.outside / "canary"

    def edit(self, change):
        """Change the run's config."""
        path = self.run / "config.yaml"
        settings = yaml.safe_load(path.read_text())
        change(settings)
        path.write_text(yaml.safe_dump(settings))

    def append(self, text):
        """Add text to the run's config."""
        with (self.run / "config.yaml").open("a") as handle:
            handle.write(text)

    def checkpoint(self, change):
        """Change what the run's last checkpoint holds."""
        path = self.run / "checkpoints/last.ckpt"
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    def remembered(self, place):
        """Let the best-checkpoint callback remember a place as its own best file."""

        def change(content):
            (state,) = [state for key, state in content["callbacks"].items() if key.startswith("ModelCheckpoint")]
            worst = torch.tensor(-1.0)
            state.update(best_k_models={place: worst}, kth_best_model_path=place, best_model_path=place)

        self.checkpoint(change)


@pytest.fixture
def scene(trained_run, tmp_path):
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "precious.csv").write_text("step,value\n0,precious\n")
    (outside / "folder" / "deep.txt").write_text("precious")
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    scene = Scene(run, outside)
    # As its author would send it: the folder it was made in is the one it is unpacked into.
    former = str(trained_run)
    (run / "checkpoints/previous.ckpt").unlink(missing_ok=True)
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(former, str(run)))
    scene.checkpoint(lambda content: content.update(callbacks=moved(content["callbacks"], former, str(run))))
    return scene


def moved(node, former, present):
    if isinstance(node, dict):
        return {moved(key, former, present): moved(value, former, present) for key, value in node.items()}
    return node.replace(former, present) if isinstance(node, str) else node


def state_of(folder):
    """Every file's bytes, every link's target, every folder."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def bomb(levels=12):
    """A few hundred bytes of YAML that stand for ten to the twelfth values."""
    names = [chr(ord("b") + index) for index in range(levels)]
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip(["a", *names], names, strict=False):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    return "\n".join(lines) + "\n"


def merge_bomb():
    lines = ["a: &a {x: 1}"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}")
    return "\n".join(lines) + "\n"


def packed(scene):
    """The checkpoint again, with a record that grows a thousandfold when it is read."""
    path = scene.run / "checkpoints/last.ckpt"
    with zipfile.ZipFile(path) as source:
        records = {info.filename: source.read(info) for info in source.infolist()}
    first = next(name for name in records if name.endswith("/data/0"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in records.items():
            target.writestr(name, bytes(50_000_000) if name == first else content)


def stretched(content):
    """Weights of a gigantic network, held in one number each."""
    content["state_dict"] = {
        name: torch.zeros([1] * value.ndim).expand([20_000 if size > 1 else size for size in value.shape])
        for name, value in content["state_dict"].items()
    }


def deep(kind, levels=100_000):
    return ("[" if kind == "list" else '{"a":') * levels


# name -> (what is done to the folder, what the message names)
READING = {
    "aliases that grow": (lambda s: s.append(bomb()), "config.yaml"),
    "merged aliases that grow": (lambda s: s.append(merge_bomb()), "config.yaml"),
    "a value that holds itself": (lambda s: s.append("me: &me [*me]\n"), "config.yaml"),
    "nested lists without end": (lambda s: s.append("deep: " + deep("list")), "config.yaml"),
    "a date that is none": (lambda s: s.append("when: 2020-99-99\n"), "config.yaml"),
    "a number of a million digits": (lambda s: s.append("many: " + "9" * 1_000_000 + "\n"), "config.yaml"),
    "a broken tag": (lambda s: s.append("x: !!timestamp nonsense\n"), "config.yaml"),
    "python/object/new": (
        lambda s: s.append(f"x: !!python/object/new:os.system [touch {s.canary}]\n"),
        "config.yaml",
    ),
    "python/name": (lambda s: s.append("x: !!python/name:os.system\n"), "config.yaml"),
    "a document twice": (lambda s: s.append("---\nmodel: {}\n"), "config.yaml"),
    "a config of 5 MB": (lambda s: s.append("# " + "x" * 5_000_000), "config.yaml"),
    "a width of 10^12": (lambda s: s.edit(lambda c: c["model"]["network"].update(base=10**12)), "model.network.base"),
    "a width that would fill a rack": (
        lambda s: s.edit(lambda c: c["model"]["network"].update(base=20_000)),
        "last.ckpt",
    ),
    "a thousand million stages": (
        lambda s: s.edit(lambda c: c["model"]["network"].update(depth=10**9)),
        "model.network.depth",
    ),
    "blocks without end": (
        lambda s: s.edit(lambda c: c["model"]["standardizer"].update(head_blocks=10**9)),
        "model.standardizer.head_blocks",
    ),
    "a plane of 10^9 pixels": (
        lambda s: s.edit(lambda c: c["model"]["standardizer"].update(plane=[10**6, 10**6])),
        "model.standardizer.plane",
    ),
    "weights stretched to fit": (
        lambda s: (s.edit(lambda c: c["model"]["network"].update(base=20_000)), s.checkpoint(stretched)),
        "last.ckpt",
    ),
    "a crop of 10^12": (
        lambda s: s.edit(lambda c: c["view"]["preparation"].update(crop=[10**12] * 3, offset=None)),
        "crop",
    ),
    "voxels of an atom": (lambda s: s.edit(lambda c: c["view"]["preparation"].update(spacing=[1e-7] * 3)), "spacing"),
    "windows that fill the memory": (
        lambda s: s.edit(lambda c: c["view"]["windows"].update(batch_size=10**9)),
        "view.windows.batch_size",
    ),
    "samples without end": (
        lambda s: s.edit(
            lambda c: c["view"].update(
                order={
                    "_target_": "strokelab.sampling.order.EpochBatchSampler",
                    **{"dataset_len": 10**12, "batch_size": 1, "seed": 0},
                }
            )
        ),
        "EpochBatchSampler",
    ),
    "a section that is a list": (lambda s: s.edit(lambda c: c.update(split=[1])), "split"),
    "a seed that is a text": (lambda s: s.edit(lambda c: c.update(seed="${oc.env:SECRET}")), "seed"),
    "a checkpoint somewhere else": (
        lambda s: s.edit(lambda c: c.update(checkpoint=str(s.outside / "precious.csv"))),
        "checkpoint",
    ),
    "a checkpoint up and away": (lambda s: s.edit(lambda c: c.update(checkpoint="../../outside/x.ckpt")), "checkpoint"),
    "REDUCE in a checkpoint": (lambda s: s.checkpoint(lambda c: c.update(loops=Touch(s.canary))), "last.ckpt"),
    "REDUCE among the weights": (
        lambda s: s.checkpoint(lambda c: c["state_dict"].update({"x": Touch(s.canary)})),
        "last.ckpt",
    ),
    "GLOBAL in a checkpoint": (
        lambda s: (s.run / "checkpoints/last.ckpt").write_bytes(b"cposix\nsystem\n."),
        "last.ckpt",
    ),
    "a plain pickle": (
        lambda s: (s.run / "checkpoints/last.ckpt").write_bytes(pickle.dumps(Touch(s.canary))),
        "last.ckpt",
    ),
    "a packed checkpoint that grows": (packed, "last.ckpt"),
    "an array of objects": (
        lambda s: np.save(
            (s.run / "checkpoints/last.ckpt").open("wb"), np.array([Touch(s.canary)], dtype=object), allow_pickle=True
        ),
        "last.ckpt",
    ),
    "a checkpoint that is a folder": (
        lambda s: ((s.run / "checkpoints/last.ckpt").unlink(), (s.run / "checkpoints/last.ckpt").mkdir()),
        "last.ckpt",
    ),
}


@pytest.mark.parametrize("name", READING)
def test_reading_a_hostile_run_does_nothing(name, scene):
    arrange, named = READING[name]
    arrange(scene)
    before = state_of(scene.run.parent)
    with pytest.raises(StrokelabError) as caught:
        load_run(scene.run)
    message = str(caught.value)
    assert named in message
    assert str(scene.run) in message or "preparation." in message
    assert HIDDEN not in message
    assert len(message) < 2000
    assert state_of(scene.run.parent) == before


def node(target, **arguments):
    return {"_target_": target, **arguments}


METRICS = "strokelab.callbacks.metrics_file.MetricsFile"
BOARD = "strokelab.callbacks.weights_and_biases.WeightsAndBiases"
TENSORBOARD = "lightning.pytorch.loggers.TensorBoardLogger"
BEST = "lightning.pytorch.callbacks.ModelCheckpoint"


def callbacks(**nodes):
    return lambda c: c["callbacks"].update(nodes)


def logger(**arguments):
    return lambda c: c.update(logger={"x": arguments})


def link(where, target):
    def make(scene):
        path = scene.run / where
        there = scene.outside / target
        if path.is_dir():
            shutil.copytree(path, there, dirs_exist_ok=True)
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(there)

    return make


def poisoned_cluster_checkpoint(scene):
    torch.save({"state_dict": Touch(scene.canary)}, scene.run / "hpc_ckpt_9.ckpt")


# What resuming writes, removes or uploads.
RESUMING = {
    "a logger that empties a file": (
        lambda s: s.edit(logger(**node(METRICS, path=str(s.outside / "precious.csv"), resumed_step=0))),
        METRICS,
    ),
    "the same inside a model": (
        lambda s: s.edit(
            lambda c: c["model"].update(
                standardizer=node(METRICS, path=str(s.outside / "precious.csv"), resumed_step=0)
            )
        ),
        METRICS,
    ),
    "a trainer inside a loss": (
        lambda s: s.edit(
            lambda c: c["model"].update(loss=node("lightning.pytorch.Trainer", default_root_dir=str(s.outside)))
        ),
        "lightning.pytorch.Trainer",
    ),
    "a function of the callbacks' room": (
        lambda s: s.edit(callbacks(x=node("strokelab.callbacks.preemption.requeue"))),
        "preemption",
    ),
    "best checkpoint elsewhere": (
        lambda s: s.edit(lambda c: c["callbacks"]["best"].update(dirpath=str(s.outside))),
        "callbacks.best.dirpath",
    ),
    "best checkpoint up and away": (
        lambda s: s.edit(lambda c: c["callbacks"]["best"].update(filename="../../outside/x")),
        "callbacks.best.filename",
    ),
    "best checkpoint relative to the reader": (
        lambda s: s.edit(lambda c: c["callbacks"]["best"].update(dirpath="outside")),
        "callbacks.best.dirpath",
    ),
    "best checkpoint on another file system": (
        lambda s: s.edit(lambda c: c["callbacks"]["best"].update(dirpath="memory://x")),
        "callbacks.best.dirpath",
    ),
    "resume point elsewhere": (
        lambda s: s.edit(lambda c: c["callbacks"]["resume_point"].update(folder=str(s.outside))),
        "callbacks.resume_point.folder",
    ),
    "board's files elsewhere": (
        lambda s: s.edit(logger(**node(BOARD, save_dir=str(s.outside), mode="offline"))),
        "logger.x.save_dir",
    ),
    "upload to a stranger's team": (
        lambda s: s.edit(logger(**node(BOARD, save_dir=str(s.run), entity="stranger"))),
        "logger.x.entity",
    ),
    "pictures of the reader's cases": (
        lambda s: s.edit(logger(**node(BOARD, save_dir=str(s.run), share_images=True))),
        "logger.x.share_images",
    ),
    "TensorBoard up and away": (
        lambda s: s.edit(logger(**node(TENSORBOARD, save_dir=str(s.run), version="../../outside"))),
        "logger.x.version",
    ),
    "Lightning's own W&B logger": (
        lambda s: s.edit(
            logger(**node("lightning.pytorch.loggers.WandbLogger", settings={"base_url": "http://localhost:1"}))
        ),
        "WandbLogger",
    ),
    "a store elsewhere": (lambda s: s.edit(lambda c: c["data"].update(store=str(s.outside / "store"))), "data.store"),
    "phantoms elsewhere": (
        lambda s: s.edit(
            lambda c: c.update(
                data=node("strokelab.data.datamodule.Phantom", root=str(s.outside / "new"), modalities=["T1w"])
            )
        ),
        "data.root",
    ),
    "phantoms over a folder": (
        lambda s: s.edit(
            lambda c: c.update(
                data=node("strokelab.data.datamodule.Phantom", root=str(s.outside / "folder"), modalities=["T1w"])
            )
        ),
        "data.root",
    ),
    "a plugin": (lambda s: s.edit(lambda c: c["trainer"].update(plugins=["x"])), "trainer.plugins"),
    "a profiler": (lambda s: s.edit(lambda c: c["trainer"].update(profiler="advanced")), "trainer.profiler"),
    "a registry of models": (
        lambda s: s.edit(lambda c: c["trainer"].update(model_registry="a/b")),
        "trainer.model_registry",
    ),
    "a strategy with files": (lambda s: s.edit(lambda c: c["trainer"].update(strategy="deepspeed")), "strategy"),
    "a million loaders": (lambda s: s.edit(lambda c: c["data"].update(workers=10**6)), "data.workers"),
    "a million devices": (lambda s: s.edit(lambda c: c["trainer"].update(devices=10**6)), "trainer.devices"),
    "a batch that fills the memory": (
        lambda s: s.edit(lambda c: c["data"].update(batch_size=10**9)),
        "data.batch_size",
    ),
    "callbacks that are a list": (lambda s: s.edit(lambda c: c.update(callbacks=["x"])), "callbacks"),
    "a run folder that is everything": (
        lambda s: s.edit(lambda c: (c.update(run_dir="/"), c["callbacks"]["best"].update(dirpath="/../outside"))),
        "callbacks",
    ),
    "remove a folder by memory": (lambda s: s.remembered(f"{s.run}/checkpoints/../../outside"), "outside"),
    "remove a file by memory": (lambda s: s.remembered(str(s.outside / "precious.csv")), "precious.csv"),
    "remove on another file system": (lambda s: s.remembered("file://" + str(s.outside)), "file://"),
    "a memory that holds itself": (
        lambda s: s.checkpoint(lambda c: (lambda me: (me.append(me), c["callbacks"].update(me=me)))([])),
        "callbacks",
    ),
    "callbacks that are no states": (lambda s: s.checkpoint(lambda c: c.update(callbacks=[1])), "callbacks"),
    "checkpoints linked away": (link("checkpoints", "folder"), "checkpoints"),
    "metrics linked away": (link("metrics.csv", "precious.csv"), "metrics.csv"),
    "a dangling link": (link("status.json", "new.json"), "status.json"),
    "a lock linked away": (link(".lock", "precious.csv"), ".lock"),
    "a checkpoint for clusters": (poisoned_cluster_checkpoint, "hpc_ckpt_9.ckpt"),
    "REDUCE in the checkpoint": (lambda s: s.checkpoint(lambda c: c.update(loops=Touch(s.canary))), "last.ckpt"),
    "REDUCE in the one before": (
        lambda s: (
            s.checkpoint(lambda c: c.update(loops=Touch(s.canary))),
            shutil.copy(s.run / "checkpoints/last.ckpt", s.run / "checkpoints/previous.ckpt"),
        ),
        "previous.ckpt",
    ),
    "a width of 10^12": (lambda s: s.edit(lambda c: c["model"]["network"].update(base=10**12)), "model.network.base"),
    "no checkpoint, and a model for a rack": (
        lambda s: (
            s.edit(lambda c: c["model"]["network"].update(base=20_000)),
            (s.run / "status.json").write_text('{"state": "killed"}'),
            (s.run / "checkpoints/last.ckpt").unlink(),
        ),
        "GB of memory",
    ),
}


@pytest.mark.parametrize("name", RESUMING)
def test_resuming_a_hostile_run_touches_nothing_of_the_reader(name, scene, doors):
    arrange, named = RESUMING[name]
    arrange(scene)
    before = state_of(scene.run.parent)
    done = doors.start(
        "train",
        *("resume=run", "trainer.max_epochs=3"),
        cwd=scene.run.parent,
        env={"SECRET": HIDDEN, "SLURM_JOB_ID": "1", "SLURM_NTASKS": "1"},
    ).wait()
    assert done.status == 1, done.output
    assert "Traceback" not in done.output
    assert named in done.output
    assert str(scene.run) in done.output
    assert "remedy:" in done.output
    assert HIDDEN not in done.output
    assert state_of(scene.run.parent) == before
