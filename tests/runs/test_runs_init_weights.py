"""Weights of another run: what they are called, copied by name and shape, known by their content and kept in mind."""

import json
import shutil

import pytest
import torch
from torch import nn

from strokelab import runs
from strokelab.configuration import compose, plain
from strokelab.errors import RunError
from strokelab.runs.checkpoints import copy_weights, state_digest, weights_digest
from strokelab.runs.recipe import differences_of, kind_of
from strokelab.training.start import start_of


def asked(text, folder, **more):
    settings = plain(
        compose("train", ["data.root=/cohort", f"run_dir={folder}", *[f"{k}={v}" for k, v in more.items()]])
    )
    return {**settings, "init_weights": text}


def found(text, folder="/run"):
    return runs.with_init_weights(asked(str(text), folder))["init_weights"]


class Small(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(width, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)


def test_what_fits_is_copied_and_the_rest_is_listed(tmp_path):
    theirs, mine = Small(4), Small()
    before = mine.first.weight.clone()
    state = {**theirs.state_dict(), "more": torch.zeros(1)}
    del state["last.bias"]
    copied = copy_weights(mine, state, tmp_path)
    assert copied.left_out == {"missing": ["last.bias"], "other_shape": ["first.weight"], "unused": ["more"]}
    assert len(copied.copied) == len(mine.state_dict()) - 2
    assert torch.equal(mine.first.weight, before)
    assert torch.equal(mine.last.weight, theirs.last.weight)
    assert str(copied) == (
        "7 of 9 tensors copied; left out: 1 of another shape (first.weight), 1 not there (last.bias), "
        "1 there but not here (more)"
    )
    assert mine.first.weight.requires_grad


def test_where_no_parameter_fits_nothing_is_copied(tmp_path):
    mine, others = Small(), {"norm.num_batches_tracked": torch.tensor(7), "other": torch.zeros(2)}
    with pytest.raises(RunError) as refused:
        copy_weights(mine, others, tmp_path)
    assert refused.value.found.startswith("no parameter of this model: 1 of 9 names")
    assert mine.norm.num_batches_tracked == 0


def test_a_run_its_checkpoint_and_colons(a_run):
    last = state_digest(runs.read_checkpoint(a_run / "checkpoints/last.ckpt")["state_dict"])
    assert weights_digest(runs.load_run(a_run).model) == last
    shutil.copy(a_run / "checkpoints/last.ckpt", a_run / "checkpoints/epoch=3.ckpt")
    for name, file in ((":best", "best"), ("", "last"), (":epoch=3", "epoch=3")):
        assert found(f"{a_run}{name}")["file"] == f"{file}.ckpt"
    colon = a_run.rename(a_run.with_name("fold:best"))
    assert (found(colon)["run"], found(colon)["file"]) == (str(colon), "last.ckpt")
    assert (found(f"{colon}:best")["run"], found(f"{colon}:best")["file"]) == (str(colon), "best.ckpt")
    for wrong in (f"{colon}:worst", f"{colon}:../last", f"{a_run}:best", f"{a_run}:last"):
        with pytest.raises(RunError):
            found(wrong)


def test_another_start_is_another_training_wherever_it_lies(a_run, tmp_path):
    plainly = runs.settings_digest(asked(None, "/run"))
    digest = runs.settings_digest(asked(str(a_run), "/run"))
    moved = shutil.copytree(a_run, tmp_path / "moved")
    assert digest == runs.settings_digest(asked(f"{moved}:last", "/other")) != plainly
    without = asked(None, "/run")
    del without["init_weights"]
    assert runs.settings_digest(without) == plainly, "as before there was such a setting"
    content = runs.read_checkpoint(moved / "checkpoints/last.ckpt")
    next(iter(content["state_dict"].values())).add_(1)
    torch.save(content, moved / "checkpoints/last.ckpt")
    assert runs.settings_digest(asked(str(moved), "/run")) != digest


def begun(folder, source):
    """A run that was killed before its first checkpoint."""
    settings = runs.with_init_weights(asked(str(source), folder))
    folder.mkdir()
    runs.write_settings(folder, settings | {"cohort": {}})
    runs.write_status(folder, "killed")
    (folder / runs.ENVIRONMENT).write_text(json.dumps({"digest": runs.settings_digest(settings)}))


def test_a_run_that_goes_on_knows_its_start_when_the_other_run_is_gone(a_run, tmp_path):
    folder = tmp_path / "run"
    begun(folder, a_run)
    digest = runs.read_environment(folder)["digest"]
    a_run.rename(tmp_path / "gone")
    command = ["data.root=/cohort", f"run_dir={folder}", f"init_weights='{a_run}'"]
    assert start_of(compose("train", [*command, "resume=auto"])).digest == digest
    with pytest.raises(RunError):  # another folder would have to read it
        start_of(compose("train", [*command[:1], f"run_dir={tmp_path / 'new'}", command[2], "resume=auto"]))
    with pytest.raises(RunError):
        runs.start_from(nn.Linear(1, 1), runs.read_settings(folder), [])


def test_weights_that_changed_meanwhile_are_not_taken(a_run):
    model = runs.load_run(a_run).model
    settings = {"init_weights": found(a_run)}
    line, record = runs.start_from(model, settings, runs.read_split(a_run).train[:2])
    assert "Warning: 2 test cases trained these weights" in line
    assert record["trained_on_test"] == sorted(runs.read_split(a_run).train[:2])
    assert runs.start_from(model, settings, runs.read_split(a_run).test)[1]["trained_on_test"] == []
    shutil.copy(a_run / "checkpoints/best.ckpt", a_run / "checkpoints/last.ckpt")
    content = runs.read_checkpoint(a_run / "checkpoints/last.ckpt")
    next(iter(content["state_dict"].values())).add_(1)
    torch.save(content, a_run / "checkpoints/last.ckpt")
    for wrong in (settings, {"init_weights": "text"}, {"init_weights": {"run": 3}}):
        with pytest.raises(RunError):
            runs.start_from(model, wrong, [])


def test_recipes_are_told_apart_by_what_they_started_from_but_for_folds_and_seeds():
    base = asked(None, "/run") | {"cohort": {"dataset": "atlas_v1", "cases": {}}}
    fold = {**base, "seed": 3, "split": {**base["split"], "fold": 2}}
    longer = {**base, "trainer": {**base["trainer"], "max_epochs": 7}}
    assert kind_of(base) == kind_of(fold) != kind_of(longer)
    starts = [
        {**base, "init_weights": {"source": kind_of(one), "weights": str(n)}} for n, one in enumerate((base, fold))
    ]
    assert differences_of(starts) == [(), ()]
    assert differences_of([base, starts[0]]) == [("source=none",), (f"source={kind_of(base)}",)]


def test_schedules_of_steps_have_another_length_in_each_fold():
    base = asked(None, "/run", **{"+model.scheduler_interval": "step"})
    one, two = ({**base, "model": {**base["model"], "scheduler": {"total_iters": n}}} for n in (100, 110))
    assert differences_of([one, two]) == [(), ()]
    two["model"] = {**two["model"], "scheduler_interval": "epoch"}
    assert differences_of([one, two]) != [(), ()]
