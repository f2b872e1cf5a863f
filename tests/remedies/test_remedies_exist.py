"""Every setting, option, command, extra and file that a printed text names exists in the door that prints it."""

import re
import tomllib
from functools import cache

import pytest
import typer
from printed import COMMAND, EXTRA, FILE, HOLE, OPTION, ROOT, Text, texts, words

from strokelab.cli import app
from strokelab.configuration import compose, conf_folder
from strokelab.configuration.overriding import parsed
from strokelab.data import readers


@cache
def told() -> list[Text]:
    """Of all texts those that say what to type."""
    return [text for text in texts() if text.told]


# Texts about the arguments of a function, which a notebook calls.
OF_A_CALL = {
    "strokelab/metrics/masks.py:check_rule",
    "strokelab/metrics/masks.py:_of_labels",
    "strokelab/metrics/masks.py:_several_values",
    "strokelab/phantoms/cohort.py:_reusable",
    "strokelab/runs/checkpoints.py:read_checkpoint",
    "strokelab/report/conventions.py:_distances",
    "strokelab/nifti/endings.py:check_new_volumes",
    "strokelab/contract.py:save",
    "strokelab/data/new_scans.py:_refused",
}
# Options of other programs.
FOREIGN = {"--config-dir", "--raw", "--shm-size", "--me", "--help", "--keep"}
# Examples of a form, whose words stand for others.
EXAMPLES = {
    "+key=value",
    "nnunet=results/nnunet",
    "hydra.launcher.NAME=...",
    "+callbacks.NAME._target_=...",
    "+metrics.NAME={_target_:my_parts.metric.NAME,_partial_:true}",
    f"bn_momentum={HOLE}",
    "size_limit=2000",
    *("atlas_v2=DIR", "isles2022=DIR", f"mine={HOLE}"),  # of strokelab matrix --on
}
# Together these hold every key that a text names.
BASES = (
    *(
        [],
        ["logger=wandb"],
        ["model=unet2d"],
        ["model=nnunet"],
        ["model=dunet"],
        ["model=resunet3d"],
        ["model=deeplabv3plus"],
        ["model=unlearning"],
        ["experiment=mapping_default"],
        ["split=kfold"],
    ),
    *(
        ["split=holdout"],
        ["split=from_file"],
        ["data=isles2022"],
        ["data=atlas_v1"],
        ["data=folder"],
        ["data=bids"],
        ["data=several"],
        ["logger=tensorboard"],
        ["synthesis=synthstroke"],
    ),
    *(["model=nnunet", "view=resunet3d"], ["model=nnunet", "augment=strong"], ["experiment=mapping_selftraining"]),
    *(["split=all"], ["postprocess=small_components"]),
    ["+callbacks.snapshots._target_=strokelab.callbacks.snapshots.Snapshots"],
)


@cache
def keys() -> frozenset[str]:
    """Every key of either door's config, and what the classes of its sections take."""
    from strokelab.configuration.arguments import parameters
    from strokelab.errors import ConfigError

    found: set[str] = set()

    def walk(node, path):
        if isinstance(node, dict):
            found.update({path} - {""})
            if "_target_" in node:
                found.update(f"{path}.{name}" for name in parameters(node["_target_"], path) or ())
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else key)
        else:
            found.add(path)

    from omegaconf import OmegaConf

    for base in BASES:
        try:
            walk(OmegaConf.to_container(compose("train", base), resolve=False), "")
        except ConfigError as error:
            pytest.fail(f"{base}: {error}")
    walk(OmegaConf.to_container(compose("evaluate", ["ensemble=mapping", "postprocess=mapping"]), resolve=False), "")
    launcher = OmegaConf.load(conf_folder() / "hydra/launcher/slurm.yaml")
    found.update(f"hydra.launcher.{key}" for key in launcher)
    found.update({"hydra.sweep.dir", "hydra.sweep.subdir"})
    return frozenset(found)


@cache
def groups() -> dict[str, set[str]]:
    return {
        str(folder.relative_to(conf_folder())): {path.stem for path in folder.glob("*.yaml")}
        for folder in conf_folder().rglob("*")
        if folder.is_dir()
    } | {"hydra/launcher": {"processes", "slurm", "basic"}}


@cache
def commands() -> dict[str, set[str]]:
    """Command -> its options."""
    root = typer.main.get_command(app)
    return {
        name: {o for p in command.params for o in p.opts + p.secondary_opts} for name, command in root.commands.items()
    }


def dataset_options() -> set[str]:
    return {name for dataset in readers.names() for name in readers.options(dataset)}


def missing(text: Text) -> list[str]:
    """What a text names and nothing has."""
    wrong = []
    if text.place not in OF_A_CALL:
        for word in words(text.text):
            wrong += [] if word in EXAMPLES or _known(*word.partition("=")[::2]) else [word]
    for option in OPTION.findall(text.text):
        wrong += [] if option in FOREIGN or any(option in options for options in commands().values()) else [option]
    for command in COMMAND.findall(text.text):
        name = command.removeprefix("strokelab ")
        known = not command.startswith("strokelab ") or name in commands() or name in ("clips", "knows")
        wrong += [] if known else [command]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wrong += [name for names in EXTRA.findall(text.text) for name in names.split(",") if name not in extras]
    wrong += [name for name in FILE.findall(text.text) if "<" not in name and not (ROOT / name).is_file()]
    return wrong


def _known(key: str, value: str) -> bool:
    bare = key.lstrip("+~")
    value = value.strip("'\"`…").rstrip(".")
    if bare in groups():
        options = [option for option in value.split(",") if option and not set(option) & set(HOLE + ".{[")]
        return set(options) <= groups()[bare] | {"null", "DIR"} or bare == "sweep"
    group, _, package = bare.partition("@")
    if package:
        return group in groups() and value in groups()[group]
    if HOLE in bare:  # e.g. view.windows.{name}: one of the keys is
        shape = re.compile(re.escape(bare).replace(HOLE, r"[\w.]+"))
        return bare == HOLE or any(shape.fullmatch(known) for known in keys())
    return bare in keys() or bare in dataset_options()


def test_what_a_text_names_exists():
    assert not {f"{text.place}, line {text.line}": wrong for text in told() if (wrong := missing(text))}


def test_settings_are_overrides_in_hydras_grammar():
    settings = {
        word: text.place
        for text in told()
        if text.place not in OF_A_CALL
        for word in words(text.text)
        if HOLE not in word and "..." not in word
    }
    for word, place in settings.items():
        assert parsed([word])[0].key_or_group, f"{place}: {word}"


def test_the_search_finds_them():
    """Nothing is lost by a change of the search: how many texts it found when it was written."""
    assert len([text for text in texts() if text.part == "remedy"]) > 380
    assert len(told()) > 150
    assert {"strokelab/callbacks/finite_loss.py:_remedy", "strokelab/training/ending.py:_record_stop"} <= {
        text.place for text in told()
    }
