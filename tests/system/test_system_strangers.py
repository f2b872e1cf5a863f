"""A stranger's run folder is safe to evaluate: nothing outside the allow-list is built, nothing pickled is run."""

import copy
import io
import json
import pickle
import zipfile

import pytest
import torch
import yaml

import strokelab.runs.trained as trained
from strokelab.configuration import check_buildable
from strokelab.errors import ConfigError, RunError
from strokelab.runs import load_run


def change(run, edit):
    """Edit a run's config.yaml."""
    path = run / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    edit(settings)
    path.write_text(yaml.safe_dump(settings))
    return run


def hidden(node):
    """Ways to place a node where a run's config is built from."""
    return {
        "as the model": lambda s: s.update(model=node),
        "as its loss": lambda s: s["model"].update(loss=node),
        "in a list inside the network": lambda s: s["model"]["network"].update(base=[1, [{"deep": [node]}]]),
        "as the windows": lambda s: s["view"].update(windows=node),
        "as the post-processing": lambda s: s.update(postprocess=node),
    }


def evil(canary):
    """Nodes that would leave a file behind, read a secret or hand over control."""
    path = str(canary)
    return {
        "os.system": {"_target_": "os.system", "command": f"touch {path}"},
        "subprocess": {"_target_": "subprocess.Popen", "args": ["touch", path]},
        "eval": {"_target_": "builtins.eval", "_args_": [f"open({path!r}, 'w')"]},
        "copyfile": {"_target_": "shutil.copyfile", "src": "/etc/hostname", "dst": path},
        "touch": {"_target_": "pathlib.Path.touch", "self": path},
        "torch through an allowed module": {"_target_": "strokelab.networks.unet.torch.load", "f": path},
        "nn through an allowed module": {"_target_": "strokelab.networks.unet.nn.Identity"},
        "torch.hub": {"_target_": "torch.hub.load", "repo_or_dir": "x", "model": "y"},
        "our own writer": {"_target_": "strokelab.files.write_text", "path": path, "text": "x"},
        "a writer in an allowed room": {
            "_target_": "strokelab.inference.derivative.Derivative",
            "folder": path,
            "name": "x",
            "provenance": {},
        },
        "a class seen from where it is imported": {"_target_": "strokelab.models.segmenter.PooledDice"},
        "a method": {"_target_": "strokelab.networks.unet.UNet.parameters"},
        "a private name": {"_target_": "strokelab.networks.unet.__builtins__"},
        "hydra's get_method": {"_target_": "hydra.utils.get_method", "path": "os.system"},
        "hydra's instantiate": {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.getcwd"}},
        "functools.partial": {"_target_": "functools.partial", "_args_": ["os.system"]},
        "a list of targets": {"_target_": ["os.system"]},
        "an environment variable": {"_target_": "strokelab.losses.dice.DiceLoss", "over": "${oc.env:SECRET}"},
        "positional arguments": {"_target_": "strokelab.losses.dice.DiceLoss", "_args_": ["sample"]},
        "recursion switched off": {"_target_": "strokelab.losses.dice.DiceLoss", "_recursive_": False},
        "a data module": {"_target_": "strokelab.data.datamodule.Phantom", "root": path},
        "a callback": {"_target_": "strokelab.callbacks.resume_point.ResumePoint", "folder": path},
    }


NAMES = list(evil(""))


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_not_on_the_list_is_refused_before_anything_is_built(kind, trained_run, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    settings = yaml.safe_load((trained_run / "config.yaml").read_text())
    monkeypatch.setattr(trained, "read_settings", lambda folder: changed)
    monkeypatch.setattr(trained, "build", lambda *_: pytest.fail("something was built"))
    for place in hidden(evil(canary)[kind]).values():
        changed = copy.deepcopy(settings)
        place(changed)
        with pytest.raises(ConfigError) as caught:
            load_run(trained_run)
        assert str(trained_run / "config.yaml") in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("door", ["evaluate", "strokelab", "train"])
@pytest.mark.parametrize("kind", ["os.system", "an environment variable"])
def test_the_doors_refuse_them_too(door, kind, a_run, t1_cohort, doors, tmp_path):
    canary = tmp_path / "canary"
    change(a_run, lambda s: s["callbacks" if door == "train" else "view"].update(windows=evil(canary)[kind]))
    arguments = {
        "evaluate": ["runs=[run]", "out=out"],
        "strokelab": ["predict", "run", t1_cohort, "--out", "out"],
        "train": ["resume=run", "trainer.max_epochs=3"],
    }[door]
    before = sorted(path.relative_to(a_run) for path in a_run.rglob("*"))
    done = doors.start(door, *arguments, cwd=a_run.parent, env={"SECRET": "do-not-tell"}).wait()
    assert done.status == 1, done.output
    assert "ConfigError" in done.output
    assert "remedy:" in done.output
    assert "Traceback" not in done.output
    assert "do-not-tell" not in done.output
    assert not canary.exists()
    assert not (a_run.parent / "out").exists()
    assert sorted(path.relative_to(a_run) for path in a_run.rglob("*")) == before


def test_yaml_tags_run_nothing(a_run, tmp_path):
    canary = tmp_path / "canary"
    with (a_run / "config.yaml").open("a") as handle:
        handle.write(f'\nextra: !!python/object/apply:os.system ["touch {canary}"]\n')
    with pytest.raises(RunError, match=r"no plain YAML"):
        load_run(a_run)
    assert not canary.exists()


def test_own_classes_are_allowed_by_prefix_and_only_then():
    node = {"_target_": "collections.OrderedDict"}
    with pytest.raises(ConfigError, match="allow-list"):
        check_buildable(node)
    check_buildable(node, allow=("collections.",))
    check_buildable({"_target_": "lightning.pytorch.Trainer"}, training=True)
    with pytest.raises(ConfigError):
        check_buildable({"_target_": "lightning.pytorch.Trainer"})


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


def test_a_pickle_in_a_checkpoint_is_not_run(a_run, tmp_path, doors):
    canary = tmp_path / "canary"
    path = a_run / "checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    for hide in (lambda c: c.update(state_dict=Evil(canary)), lambda c: c["hyper_parameters"].update(x=Evil(canary))):
        poisoned = {**content, "hyper_parameters": {}}
        hide(poisoned)
        torch.save(poisoned, path)
        with pytest.raises(RunError, match="cannot be read safely"):
            load_run(a_run)
    path.write_bytes(pickle.dumps({"state_dict": Evil(canary)}))
    with pytest.raises(RunError, match="cannot be read safely"):
        load_run(a_run)
    (a_run / "checkpoints/previous.ckpt").unlink(missing_ok=True)  # else the run goes on from there
    resumed = doors.train("resume=run", "trainer.max_epochs=3", cwd=a_run.parent)
    assert resumed.status == 1
    assert "cannot be read safely" in resumed.output
    assert not canary.exists()


def damaged(whole: bytes) -> dict[str, bytes]:
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a/data.pkl", b"nonsense")
    numbers = io.BytesIO()
    torch.save({"state_dict": {"network.head.weight": 3}}, numbers)
    a_list = io.BytesIO()
    torch.save([1, 2], a_list)
    return {
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "first half": whole[: len(whole) // 2],
        "all but the end": whole[:-100],
        "other zip": other.getvalue(),
        "numbers for tensors": numbers.getvalue(),
        "a list": a_list.getvalue(),
    }


@pytest.mark.parametrize("kind", list(damaged(b"")))
def test_a_damaged_checkpoint_is_named(kind, a_run):
    path = a_run / "checkpoints/last.ckpt"
    path.write_bytes(damaged(path.read_bytes())[kind])
    with pytest.raises(RunError) as caught:
        load_run(a_run)
    assert str(path) in str(caught.value)


def test_missing_and_foreign_checkpoints(a_run, trained_unet, doors, t1_cohort):
    path = a_run / "checkpoints/last.ckpt"
    path.write_bytes((trained_unet / "checkpoints/last.ckpt").read_bytes())
    with pytest.raises(RunError, match="weights of another model"):
        load_run(a_run)
    path.unlink()
    with pytest.raises(RunError, match=r"there are \['best.ckpt'"):
        load_run(a_run)
    assert load_run(a_run, checkpoint="best").checkpoint.name == "best.ckpt"
    resumed = doors.train("resume=run", cwd=a_run.parent)  # it was finished: nothing starts over its results
    assert resumed.status == 1
    assert "no such file; there are ['best.ckpt'" in resumed.output
    for left in (a_run / "checkpoints").glob("*.ckpt"):
        left.unlink()
    done = doors.strokelab("predict", a_run, t1_cohort, "--out", "out", cwd=a_run.parent)
    assert done.status == 1
    assert "no checkpoint yet" in done.output
    assert not (a_run.parent / "out").exists()


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda s: s.pop("model"), "no ['model']"),
        (lambda s: s.update(view=None), "no ['view']"),
        (lambda s: s.update(model={}), "model: a dict"),
        (lambda s: s.update(model={"_target_": "strokelab.losses.dice.DiceLoss"}), "model: a DiceLoss"),
        (lambda s: s.update(view={"_target_": "strokelab.sampling.order.Shuffle"}), "augment"),
        (lambda s: s["model"]["network"].update(base="wide"), "network"),
        (lambda s: s["model"]["network"].update(in_channels="???"), "Missing mandatory value"),
        (lambda s: s["model"]["network"].update(bass=3), "bass"),
    ],
)
def test_a_config_that_makes_no_run_is_named(edit, found, a_run):
    change(a_run, edit)
    with pytest.raises((RunError, ConfigError)) as caught:
        load_run(a_run)
    assert found in str(caught.value)


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "model: [", "\x00\x01", "just words"])
def test_a_config_that_is_no_mapping_is_named(content, a_run):
    (a_run / "config.yaml").write_text(content)
    with pytest.raises(RunError, match=r"config\.yaml"):
        load_run(a_run)


def test_damaged_side_files_cost_nothing_that_prediction_needs(a_run, t1_cohort):
    for name in ("sites.json", "status.json", "environment.json", "metrics.csv", "split.csv"):
        (a_run / name).write_text("{half")
    run = load_run(a_run)
    assert run.sites == {}
    assert run.predict(next(t1_cohort.glob("Site1/*/t01/0*_t1w*.nii.gz"))).mask.shape == (25, 29, 24)


@pytest.mark.parametrize(
    "cohort",
    [
        {"dataset": "nonsense"},
        {"dataset": "../evil"},
        {"dataset": 3},
        {"root": None},
        {"root": "gone"},
        {"options": {"tabel": 1}},
        {"options": [1]},
        {"options": {"exclude": 5}},
    ],
    ids=json.dumps,
)
def test_a_cohort_that_cannot_be_read_is_named(cohort, a_run, doors):
    change(a_run, lambda s: s["cohort"].update(cohort))
    done = doors.evaluate("runs=[run]", "out=out", cwd=a_run.parent)
    assert done.status == 1, done.output
    assert "Error" in done.output
    assert "remedy:" in done.output
    assert "Traceback" not in done.output
    assert not (a_run.parent / "out").exists()
