"""What is wrong with a later stage is found out before the first one trains."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from torch.optim.lr_scheduler import OneCycleLR

from strokelab.callbacks.resume_point import ResumePoint
from strokelab.callbacks.stage import Stage
from strokelab.configuration import compose, plain
from strokelab.errors import ConfigError
from strokelab.losses.dice import DiceLoss
from strokelab.models.segmenter import Segmenter
from strokelab.networks.unet import UNet
from strokelab.training.logged import check_logged
from strokelab.training.resumable import check_resumable
from strokelab.training.stages import as_checked, check_best, told

SHORT = "+stages.a.trainer.max_epochs=2"


def settings(*overrides):
    return plain(compose("train", ["data=atlas_v1", "data.root=x", "run_dir=run", "model=unet2d", *overrides]))


def test_a_schedule_lasts_as_long_as_its_stage(tmp_path):
    """Three epochs after the five of the stage before."""
    point = ResumePoint(tmp_path)
    point.stage = Stage("second", 1, first_epoch=5, first_step=20)
    trainer = Trainer(
        max_epochs=8, callbacks=[point], logger=False, accelerator="cpu", enable_model_summary=False, barebones=False
    )
    schedule = {"_target_": "torch.optim.lr_scheduler.OneCycleLR"}
    for count, lasts in ((3, True), (2, False)):
        optimizer, scheduler = partial(torch.optim.SGD, lr=0.1), partial(OneCycleLR, max_lr=0.1, total_steps=count)
        model = Segmenter(UNet(1, 1, base=2, depth=2), DiceLoss(), optimizer, scheduler)
        check = partial(check_resumable, {"model": {"scheduler": schedule | {"total_steps": count}}}, model, trainer)
        if lasts:
            check()
        else:
            with pytest.raises(ConfigError) as refused:
                check()
            assert "model.scheduler.total_steps=3" in refused.value.remedy


def test_what_is_never_evaluated_needs_no_validation():
    """The first stage does not validate; the objective and the best checkpoint are the last one's."""
    chosen = ["objective=val/loss", "checkpoint=best", "+stages.a.trainer.limit_val_batches=0", SHORT, "+stages.b={}"]
    first, last = as_checked(settings(*chosen))
    check_logged(first)
    check_logged(last)
    with pytest.raises(ConfigError):
        check_logged({**last, "trainer": first["trainer"]})


@pytest.mark.parametrize(
    ("given", "validates"),
    [
        ([], False),
        (["+stages.a.trainer.limit_val_batches=0"], True),
        (["+stages.a.callbacks.best=null"], True),
    ],
)
def test_the_best_of_a_stage_that_keeps_none(given, validates):
    base = [SHORT, *given, "+stages.b.init_weights=best"]
    with pytest.raises(ConfigError, match=r"^stages\.b\.init_weights"):
        check_best(settings(*base), validates=validates)
    check_best(settings(*base[:-1], "+stages.b.init_weights=last"), validates=validates)
    check_best(settings(SHORT, "+stages.b.init_weights=best"), validates=True)


def test_a_stage_in_a_line():
    staged = settings(SHORT, "+stages.b.trainer.max_epochs=-1", "+stages.b.trainer.max_steps=10")
    first, last = as_checked(staged)
    assert "2 epochs" in told(staged, first, Stage("a"))
    line = told(staged, last, Stage("b", 1, first_epoch=2, first_step=8))
    assert "10 steps" in line
    assert "from epoch 3" in line
    assert "-1" not in line
