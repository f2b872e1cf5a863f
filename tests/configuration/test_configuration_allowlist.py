"""What an untrusted config may build: what says so itself, in its own section, within its limits."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import strokelab
from strokelab.buildable import buildable, leave_of
from strokelab.configuration import check_buildable
from strokelab.configuration.allowlist import own_targets
from strokelab.configuration.size_limit import MOST_VOXELS, check_voxels
from strokelab.errors import ConfigError
from strokelab.losses import dice

PATCHES = "strokelab.sampling.foreground.ForegroundPatches"
DENSE = "strokelab.inference.dense_patches.DensePatches"
DATA = "strokelab.data.datamodule"


@buildable("model")
class Marked:
    """Bears a mark."""


class Below(Marked):
    """A subclass of it."""


@buildable("model")
def marked():
    """Bears a mark."""


@functools.wraps(marked)
def wrapper():
    """Has all that the other has, its mark included."""
    return marked()


def test_a_mark_is_the_objects_own():
    assert leave_of(Marked).sections == leave_of(marked).sections == ("model",)
    assert leave_of(Marked).thing is Marked
    for other in (Below, wrapper, Marked(), functools.partial(marked), None, 3):
        assert leave_of(other) is None, other


@pytest.fixture
def with_a_subclass(monkeypatch):
    """``strokelab.losses.dice`` with objects that its file could hold beside the marked ones."""
    for name, thing in {
        "Subclass": type("Subclass", (dice.DiceLoss,), {"__module__": dice.__name__}),
        "Alias": dice.DiceLoss,
        "wrapper": functools.wraps(dice.soft_dice_loss)(lambda: None),
        "instance": dice.DiceLoss(),
        "Outside": Marked,
    }.items():
        monkeypatch.setattr(dice, name, thing, raising=False)


@pytest.mark.parametrize(
    "target",
    [
        # names of a room that are no marked object's own
        *(f"strokelab.losses.dice.{name}" for name in ("Subclass", "Alias", "wrapper", "instance", "Outside")),
        *("strokelab.losses.dice.torch", "strokelab.losses.dice.unlike_maps", "strokelab.losses.dice._dice"),
        *(
            "strokelab.networks.unet.torch.load",
            "strokelab.networks.unet.nn.Identity",
            "strokelab.networks.unet.UNet.to",
        ),
        *(
            "strokelab.networks.unet.double_block",
            "strokelab.networks.units.Unit",
            "strokelab.losses.compound.DiceLoss",
        ),
        # parts of other sections
        *(PATCHES, f"{DATA}.CohortDataModule", "strokelab.inference.postprocess.threshold"),
        # tricks with names
        *("strokelab..losses.dice.DiceLoss", "strokelab.losses.dice.DiceLoss ", "strokelab.losses.dice.DiceLoss\n"),
        *(".strokelab.losses.dice.DiceLoss", "strokelab.losses.dice.DiceLoss.", "strokelab.losses.dice.ＤiceLoss"),
        *("strokelab/losses/dice.DiceLoss", "strokelab.losses.dice.DiceLoss.__init__", "strokelab.losses.dice"),
        *("strokelab.build_model", "strokelab", "", "builtins.exec", "tests.configuration.Marked", "torch.load"),
        # modules that nothing is marked in
        *(
            "strokelab.__main__.main",
            "strokelab.cli.main",
            "strokelab.files.write_text",
            "strokelab.buildable.buildable",
        ),
        *("strokelab.buildable.Leave", "strokelab.processes.subprocess", "strokelab.configuration.build"),
        *(["strokelab.losses.dice.DiceLoss"], {"a": 1}, None, 3),
    ],
)
def test_what_no_mark_vouches_for_is_no_model(target, with_a_subclass):
    for training in (False, True):
        with pytest.raises(ConfigError, match="allow-list of 'model'"):
            check_buildable({"model": {"loss": {"_target_": target}}}, training=training)


def test_a_section_builds_its_own_kind_also_in_a_stage():
    node = {"_target_": "strokelab.losses.dice.DiceLoss"}
    check_buildable({"model": {"loss": node}})
    check_buildable({"stages": {"zoom_in": {"model": {"loss": node}}}}, training=True)
    for wrong in ("view", "data", "callbacks", "logger", "postprocess"):
        stages = ({name: {wrong: node}} for name in ("zoom_in", "a.b", "model"))
        for tree in ({wrong: node}, {wrong: [node]}, {f"{wrong}.x": node}, *({"stages": one} for one in stages)):
            with pytest.raises(ConfigError, match=f"allow-list of '{wrong}'"):
                check_buildable(tree, training=True)
    for tree in (node, [node], {"a": node}, {"a": [node]}, {"a": {"other": node}}, {"a": {"other": {"model": node}}}):
        with pytest.raises(ConfigError, match="allow-list of 'stages'"):
            check_buildable({"stages": tree}, training=True)


def test_modules_without_marks_are_not_imported():
    """A module may act on import; asked for in a fresh process."""
    code = (
        "import sys, json\n"
        "from strokelab.configuration.allowlist import own_targets\n"
        "names = ['strokelab.cli.main', 'strokelab.dashboard.Board', 'strokelab.networks.unet.UNet']\n"
        "before = set(sys.modules)\n"
        "found = [own_targets({'model': {'_target_': name}}) for name in names]\n"
        "print(json.dumps([found, sorted(name for name in set(sys.modules) - before if name.startswith('strokelab'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, imported = json.loads(done.stdout)
    assert found == [["strokelab.cli.main"], ["strokelab.dashboard.Board"], []]
    assert "strokelab.networks.unet" in imported
    assert not {"strokelab.cli", "strokelab.dashboard"} & set(imported)


def test_every_marked_object_is_found_under_its_name():
    """Each mark in the package is one that the allow-list finds; nothing is marked where it cannot be asked for."""
    root = Path(strokelab.__file__).parent
    marked = 0
    for file in root.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        module = ".".join(["strokelab", *file.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
        for name in re.findall(r"^@buildable\([^\n]*\)\n(?:@[^\n]*\n)*(?:class|def) (\w+)", text, re.MULTILINE):
            check_buildable({"any": {"_target_": f"{module}.{name}"}}, training=True)
            marked += 1
        if file.name != "buildable.py":
            assert text.count("\n@buildable(") == len(re.findall(r"^@buildable\([^\n]*\)\n", text, re.MULTILINE)), file
    assert marked > 40


@pytest.mark.parametrize(
    ("section", "target", "settings"),
    [
        ("view", PATCHES, {"iterations_per_epoch": 10**6}),
        ("view", PATCHES, {"validation_iterations": float("inf")}),
        ("view", PATCHES, {"validation_iterations": float("nan")}),
        ("view", PATCHES, {"validation_iterations": "1e9"}),
        ("view", PATCHES, {"validation_iterations": [10**400]}),
        ("view", "strokelab.augment.nnunet.NNUNetAugmentation", {"zoom": [0.7, 1000]}),
        ("view", "strokelab.augment.nnunet.NNUNetAugmentation", {"elastic_shift": [0.1, 50]}),
        ("data", "strokelab.sampling.alternate.Alternate", {"ratio": [10**9, 1]}),
        ("data", f"{DATA}.Phantom", {"sites": 10**9}),
        ("data", f"{DATA}.Phantom", {"layout_options": {"testing": 10**9}}),
    ],
)
def test_numbers_that_would_take_the_memory(section, target, settings):
    node = {section: {"_target_": target, **settings}}
    with pytest.raises(ConfigError) as caught:
        check_buildable(node, training=True)
    assert caught.value.found.startswith(next(iter(settings)))
    check_buildable(node, training=True, allow=(target,))
    assert own_targets(node) == [target], "what the user trained so stays theirs"
    check_buildable({section: {"_target_": target}}, training=True)


def view(**parts):
    preparation = {"_target_": "strokelab.preparation.recipe.Preparation", "modalities": ["T1w"]}
    own = {
        "sampler": {"_target_": PATCHES, "patch": [64, 64, 64]},
        "windows": {"_target_": "strokelab.inference.windows.PatchWindows", "patch": [64, 64, 64]},
    }
    return {
        "_target_": "strokelab.view.View",
        "preparation": preparation,
        **{k: v | parts.get(k, {}) for k, v in own.items()},
    }


def test_voxels_that_go_through_a_network_at_once():
    most = MOST_VOXELS // 64**3
    check_voxels(view(windows={"batch_size": most}), Path("x"), batch_size=most)
    check_voxels(view(), Path("x"))
    geometric = {"_target_": "strokelab.inference.geometric_mean.GeometricMean"}
    inner = view(windows={"batch_size": most + 1})
    for wrong, batch, named in (
        (inner, 1, "view.windows.batch_size"),
        (view(windows={"_target_": DENSE, "batch_size": most + 1}), 1, "view.windows.batch_size"),
        (inner | {"windows": geometric | {"windows": inner["windows"]}}, 1, "view.windows.batch_size"),
        (view(), most + 1, "data.batch_size"),
        (view(), "1000000000", "data.batch_size"),
        (view(), [4], "data.batch_size"),
        (view(sampler={"patch": [600, 600, 600]}), 2, "data.batch_size"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_voxels(wrong, Path("x"), batch_size=batch)
        assert caught.value.found.startswith(named)
