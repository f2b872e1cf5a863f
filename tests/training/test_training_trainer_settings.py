"""Every argument of Lightning's Trainer is honoured or refused by name, with what to do instead."""

import inspect

import pytest
from lightning.pytorch import Trainer

from strokelab.errors import ConfigError
from strokelab.training.trainer import REFUSED, check_trainer

# Tried on real trainings, see docs/survival.md.
HONOURED = {
    *("accelerator", "strategy", "devices", "num_nodes", "precision", "plugins", "sync_batchnorm", "deterministic"),
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "overfit_batches", "limit_train_batches"),
    *("limit_val_batches", "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps"),
    *("log_every_n_steps", "enable_model_summary", "accumulate_grad_batches", "gradient_clip_val"),
    *("gradient_clip_algorithm", "benchmark", "inference_mode", "profiler", "detect_anomaly"),
    "reload_dataloaders_every_n_epochs",
}


def test_no_argument_is_forgotten():
    known = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert known == HONOURED | set(REFUSED)
    assert set() == HONOURED & set(REFUSED)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_be_ignored_is_refused(name):
    value = {"limit_test_batches": 1, "limit_predict_batches": 0.5, "enable_checkpointing": False}.get(name, True)
    with pytest.raises(ConfigError) as refused:
        check_trainer({name: value})
    assert refused.value.where == f"trainer.{name}"
    assert refused.value.remedy


def test_what_asks_for_nothing_is_no_mistake():
    check_trainer({"fast_dev_run": False, "enable_checkpointing": True, "logger": None, "barebones": False})
