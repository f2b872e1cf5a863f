"""What this user trained this user resumes, predicts with and evaluates: own classes, torch's schedules."""

import shutil

import pandas as pd
import pytest
import yaml

MINE = '''
import torch
from lightning.pytorch import Callback
from strokelab.networks.unet import UNet

class Net(UNet):
    """Own network."""

class Loss(torch.nn.Module):
    def forward(self, logits, target, known=None):
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())

class Count(Callback):
    epochs = 0
    def on_train_epoch_end(self, trainer, module): self.epochs += 1
    def state_dict(self): return {"epochs": self.epochs}
    def load_state_dict(self, state): self.epochs = state["epochs"]

def false_ml(prediction, reference, spacing):
    return ((prediction == 1) & (reference == 0)).sum() * spacing[0] * spacing[1] * spacing[2] / 1000

class Opaque(Callback):
    def state_dict(self): return {"x": object()}
'''
OWN = [
    *("model=unet2d", "model.network._target_=mine.Net", "~model.loss", "+model.loss={_target_: mine.Loss}"),
    *("+callbacks.count={_target_: mine.Count}", "~model.scheduler", "score_test=false"),
    "+callbacks.case_metrics.own.false_ml={_target_: mine.false_ml, _partial_: true}",
    "+model.scheduler={_target_: torch.optim.lr_scheduler.OneCycleLR, _partial_: true, max_lr: 0.1, total_steps: 2}",
]


@pytest.fixture
def here(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.fixture
def command(tiny):
    """The tiny training without what the own loss does not take."""
    return [item for item in tiny if not item.startswith("model.loss.")] + OWN


def test_own_parts_are_resumed_for_longer_and_by_others_only_when_they_say_so(here, command, doors, t1_cohort):
    own = {"PYTHONPATH": str(here)}
    stopped = doors.train(*command, "run_dir=run", cwd=here, env=own, kill_at=("mine.Count.on_train_epoch_end", 2))
    assert stopped.status == -9, stopped.output
    doors.train("resume=run", cwd=here, env=own).check()
    shutil.copytree(here / "run", here / "copy")

    short = doors.train("resume=run", "trainer.max_epochs=3", cwd=here, env=own)
    assert short.status == 1
    (remedy,) = [line for line in short.output.splitlines() if "remedy:" in line]
    longer = remedy.split("add ")[1].split()[0]
    settings = ["trainer.max_epochs=3", longer, "trainer.gradient_clip_val=1", "+trainer.max_time=00:00:30:00"]
    doors.train("resume=run", *settings, "~callbacks.best", cwd=here, env=own).check()
    config = yaml.safe_load((here / "run/config.yaml").read_text())
    assert (config["trainer"]["gradient_clip_val"], config["trainer"]["max_time"]) == (1, "00:00:30:00")
    assert "best" not in config["callbacks"]
    assert "allow" not in config
    doors.train("resume=run", "score_test=true", cwd=here, env=own).check()
    scored = pd.read_csv(here / "run/cases.csv")
    assert list(scored["false_ml"]) == pytest.approx(list(scored["fp"] * scored["voxel_volume_mm3"] / 1000))
    doors.evaluate("runs=[run]", "out=out", "save_predictions=false", cwd=here, env=own).check()
    assert [*pd.read_csv(here / "out/cases.csv")].count("false_ml") == 0, "it was not asked for there"

    other = own | {"XDG_STATE_HOME": str(here / "another user")}
    refused = doors.train("resume=copy", longer, "trainer.max_epochs=3", cwd=here, env=other)
    assert refused.status == 1
    assert "allow=[mine.]" in refused.output
    doors.train("resume=copy", longer, "trainer.max_epochs=3", "allow=[mine.]", cwd=here, env=other).check()
    doors.train("resume=copy", "trainer.max_epochs=3", cwd=here, env=other).check()  # its own training wrote that


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("+callbacks.opaque={_target_: mine.Opaque}", "Opaque"),
        ("+callbacks.count._args_=[1]", "_args_"),
        ("trainer.max_epochs=3", "model.scheduler.total_steps=3"),
    ],
)
def test_what_could_not_go_on_does_not_begin(wrong, said, here, command, doors):
    done = doors.train(*command, wrong, "run_dir=run", cwd=here, env={"PYTHONPATH": str(here)})
    assert done.status == 1, done.output
    assert said in done.output
    assert not (here / "run").exists()


def test_unknown_settings_of_a_run_that_goes_on_are_named(a_run, doors):
    for key in ("+alow=[x.]", "+data.batchsize=3", "trainer.max_epoch=9"):
        done = doors.train("resume=run", key, cwd=a_run.parent)
        assert done.status == 1, key
        assert "did you mean" in done.output
