"""Snapshots at the ends of cycles and averaged weights: which, what of, the same wherever a training is cut."""

import contextlib
from functools import partial

import lightning as L
import pytest
import torch
from test_callbacks_resume_point import Data, Noisy, Stop, StopAt, seed

from strokelab.callbacks.averaged_weights import AveragedWeights
from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.callbacks.resume_point import ResumePoint
from strokelab.callbacks.schedule import afresh
from strokelab.callbacks.snapshots import Snapshots
from strokelab.callbacks.stage import Stage, first_checkpoint, next_stage
from strokelab.errors import ConfigError
from strokelab.models.warm_restarts import cosine_restarts

pytestmark = pytest.mark.filterwarnings("ignore")


class Cyclic(Noisy):
    """Five steps an epoch, two epochs a cycle; it notes the weights after every epoch."""

    def __init__(self):
        super().__init__()
        self.after = {}
        self.rates = []

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        schedule = cosine_restarts(optimizer, cycle_epochs=2, steps_per_epoch=5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self):
        self.after[self.current_epoch + 1] = {name: value.clone() for name, value in self.state_dict().items()}


def fit(folder, *callbacks, epochs=6, resume=False, stage=None, **settings):
    seed(3)
    model = Cyclic()
    if resume:
        seed(99)
    place, last = folder / "checkpoints", folder / "checkpoints/last.ckpt"
    place.mkdir(parents=True, exist_ok=True)
    step = torch.load(last, weights_only=True)["global_step"] if resume else None
    point = ResumePoint(place, 2)
    point.stage = stage or Stage()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=MetricsFile(folder / "metrics.csv", resumed_step=step),
        callbacks=[point, *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    with contextlib.suppress(Stop):
        trainer.fit(model, datamodule=Data(), ckpt_path=last if resume else None, weights_only=True)
    return model


def read(folder, name):
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)


def names(folder):
    return sorted(path.stem for path in (folder / "checkpoints").glob("*.ckpt") if not path.stem.startswith("previous"))


def same(mine, theirs):
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_the_weights_at_the_end_of_each_cycle(tmp_path):
    model = fit(tmp_path, Snapshots(tmp_path / "checkpoints"))
    assert names(tmp_path) == ["last", "snapshot-0002", "snapshot-0004", "snapshot-0006"]
    lowest = min(model.rates)
    for epoch in (2, 4, 6):
        content = read(tmp_path, f"snapshot-{epoch:04d}")
        assert same(content["state_dict"], model.after[epoch])
        assert content["snapshot"] == {"epoch": epoch, "rate": pytest.approx(lowest)}
        assert (content["epoch"], content["global_step"]) == (epoch - 1, 5 * epoch)
        assert "optimizer_states" not in content
    lines = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    rates = [line[lines[0].index("snapshot/rate")] for line in lines[1:]]
    assert [float(rate) for rate in rates if rate] == pytest.approx([lowest] * 3)


@pytest.mark.parametrize(("settings", "expected"), [({"epochs": [1, 5]}, [1, 5]), ({"every_n_epochs": 3}, [3, 6])])
def test_listed_epochs_or_a_distance(settings, expected, tmp_path):
    model = fit(tmp_path, Snapshots(tmp_path / "checkpoints", **settings))
    assert names(tmp_path) == ["last", *(f"snapshot-{epoch:04d}" for epoch in expected)]
    assert same(read(tmp_path, f"snapshot-{expected[0]:04d}")["state_dict"], model.after[expected[0]])


def parts(folder):
    return Snapshots(folder / "checkpoints"), AveragedWeights(decay=0.9, from_step=3)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    fit(folder, *parts(folder))
    return folder


class CutAt(L.Callback):
    """Ends a training before a checkpoint of ours counts."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise Stop


@pytest.mark.parametrize(
    "cut",
    [StopAt(8), StopAt(10), CutAt(2), StopAt(13), CutAt(4), StopAt(29)],
    ids=["within the cycle", "after it counts", "between", "in the next", "between the next two", "at the end"],
)
def test_a_training_cut_anywhere_ends_with_the_same_files(cut, unbroken, tmp_path):
    fit(tmp_path, cut, *parts(tmp_path))
    before = {name: (tmp_path / f"checkpoints/{name}.ckpt").stat().st_mtime_ns for name in names(tmp_path)}
    done = read(tmp_path, "last")["global_step"]
    fit(tmp_path, *parts(tmp_path), resume=True)
    assert names(tmp_path) == names(unbroken)
    assert (tmp_path / "metrics.csv").read_text() == (unbroken / "metrics.csv").read_text()
    for name in names(unbroken):
        mine, theirs = read(tmp_path, name), read(unbroken, name)
        assert same(mine["state_dict"], theirs["state_dict"]), name
        assert mine.get("snapshot") == theirs.get("snapshot")
        if name.startswith("snapshot") and name in before and mine["global_step"] <= done:
            assert (tmp_path / f"checkpoints/{name}.ckpt").stat().st_mtime_ns == before[name], "written once"


def test_a_snapshot_behind_the_point_of_a_resume_is_made_anew(tmp_path):
    """Its settings may be others from there on."""
    fit(tmp_path, StopAt(8), Snapshots(tmp_path / "checkpoints"))
    stale = tmp_path / "checkpoints/snapshot-0002.ckpt"
    stale.write_bytes(b"of a training that was cut before this epoch counted")
    other = tmp_path / "checkpoints/snapshot-first-0009.ckpt"
    other.write_bytes(b"of another stage")
    model = fit(tmp_path, Snapshots(tmp_path / "checkpoints"), resume=True, epochs=2)
    assert same(read(tmp_path, "snapshot-0002")["state_dict"], model.after[2])
    assert other.is_file()


def test_epochs_are_those_of_the_stage_and_one_cut_short_leaves_nothing(tmp_path):
    fit(tmp_path, Snapshots(tmp_path / "checkpoints"), epochs=3)
    former = read(tmp_path, "last")
    stage = next_stage(former, "second")
    begun = first_checkpoint(former, former["state_dict"], stage, afresh=afresh(Cyclic()), data="Data") | {
        "Data": {"skip": 0}
    }
    torch.save(begun, tmp_path / "checkpoints/last.ckpt")
    model = fit(tmp_path, Snapshots(tmp_path / "checkpoints"), resume=True, stage=stage, epochs=9, max_steps=33)
    assert names(tmp_path) == ["last", "snapshot-0002", "snapshot-second-0002"]
    kept = read(tmp_path, "snapshot-second-0002")
    assert same(kept["state_dict"], model.after[5])
    assert kept["snapshot"]["epoch"] == 2


def test_averaged_weights_lie_beside_the_trainings_own(unbroken, tmp_path):
    alone = fit(tmp_path, Snapshots(tmp_path / "checkpoints"))
    assert same(read(unbroken, "last")["state_dict"], alone.after[6]), "the training is that without an average"
    assert (tmp_path / "metrics.csv").read_text() == (unbroken / "metrics.csv").read_text()
    noted = []

    class Note(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            noted.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    fit(tmp_path / "again", Note())
    expected = noted[3]  # the first step that counts
    for weights in noted[4:]:
        expected = {name: value * 0.9 + weights[name] * 0.1 for name, value in expected.items()}
    found = read(unbroken, "ema")
    assert all(torch.allclose(value, expected[name], atol=1e-6) for name, value in found["state_dict"].items())
    assert found["global_step"] == 30
    assert not same(found["state_dict"], alone.after[6])


def test_an_average_that_nothing_counted_for_is_the_model(tmp_path):
    fit(tmp_path, AveragedWeights(from_step=100), epochs=1)
    seed(3)
    assert same(read(tmp_path, "ema")["state_dict"], Cyclic().state_dict())


@pytest.mark.parametrize("settings", [{"every_n_epochs": 2, "epochs": [3]}, {"every_n_epochs": 0}, {"epochs": [0, 3]}])
def test_settings_that_say_nothing_clear_are_refused(settings, tmp_path):
    with pytest.raises(ConfigError) as caught:
        Snapshots(tmp_path, **settings)
    assert caught.value.where == "callbacks.snapshots"


def test_a_rate_without_cycles_needs_epochs(tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for given in (None, schedule):
        with pytest.raises(ConfigError):
            Snapshots(tmp_path).check_schedule(given)
        Snapshots(tmp_path, epochs=[3]).check_schedule(given)
    Snapshots(tmp_path).check_schedule(partial(cosine_restarts, cycle_epochs=2, steps_per_epoch=3)(optimizer))
