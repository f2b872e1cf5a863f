"""``strokelab export-challenge``: the build context of a container that serves a challenge, without anything to write.

The context holds this version of strokelab as source, so that no package index needs to know it; what strokelab needs
is pinned to the versions that are installed here, with which the entry point can be tried before it is built.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from strokelab import __version__
from strokelab.command_words import word
from strokelab.configuration import conf_folder
from strokelab.errors import ConfigError
from strokelab.exchange.challenge import Challenge
from strokelab.exchange.pack import pack
from strokelab.files import replacing, write_json, write_text
from strokelab.runs import Ensemble, Run, is_packed

MODEL, FACTS, ENTRY, NEEDS, TEST = "model.zip", "challenge.json", "process.py", "requirements.txt", "test.sh"
_TEMPLATES = Path(__file__).with_name("context")
"""The texts of the context; ``@word@`` stands for a value."""


def export_challenge(
    challenge: Challenge, trained: Run | Ensemble, source: Path, out: Path, *, licence: str = "", name: str = "model"
) -> Path:
    """Write the build context.

    Args:
        challenge: whose interface it serves.
        trained: the model, loaded.
        source: where it was loaded from; a packed model is copied as it is.
        out: a new folder.
        licence: as for ``pack``.
        name: of the image.

    Returns:
        ``out``.

    Raises:
        ConfigError: ``out`` is there, or the model needs images that the challenge does not give; as ``pack``.
        DataError: the folder cannot be written.
    """
    wanted = challenge.wanted(trained)
    if out.exists():
        raise ConfigError(
            out, found="something that lies there", expected="a new folder", remedy="choose another name, or remove it"
        )
    given = dict.fromkeys((challenge.grid, *wanted))
    words = {
        **{"title": challenge.title, "page": challenge.page, "version": __version__, "name": _image(name)},
        **{"python": f"{sys.version_info.major}.{sys.version_info.minor}", "mask": challenge.mask},
        **{"grid": challenge.grid, "first": challenge.images[challenge.grid], "names": ", ".join(given)},
        "folders": ", ".join(f"`images/{challenge.images[one]}/*.mha`" for one in given),
    }
    with replacing(out) as place:
        place.mkdir(parents=True)
        if is_packed(source):
            shutil.copyfile(source, place / MODEL)
        else:
            pack(trained, place / MODEL, licence=licence)
        write_json(place / FACTS, challenge.to_json())
        for template in sorted(_TEMPLATES.glob("*.in")):
            text = re.sub(r"@(\w+)@", lambda found: words[found[1]], template.read_text(encoding="utf-8"))
            write_text(place / template.stem, text)
        (place / TEST).chmod(0o755)
        write_text(place / NEEDS, "\n".join(requirements()) + "\n")
        _copy_source(place / "strokelab")
    return out


def _image(name: str) -> str:
    """A name that Docker takes for an image."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def requirements() -> list[str]:
    """What strokelab needs to run, each at the version that is installed here."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file():
        needed = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        needed = [line for line in metadata.requires("strokelab") or [] if "extra ==" not in line]
    names = [found[0] for line in needed if (found := re.match(r"[\w.-]+", line))]
    # A build of torch for one machine (2.6.0+cpu) is no version of the index.
    return sorted(f"{name}=={metadata.version(name).partition('+')[0]}" for name in names)


def _copy_source(place: Path) -> None:
    """This version of strokelab with its settings, as they lie in an installed package."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(__file__).resolve().parents[1], place, ignore=unwanted)
    if not (place / "conf").is_dir():
        shutil.copytree(conf_folder(), place / "conf", ignore=unwanted)


def next_step(out: Path) -> str:
    """The command that tries the entry point without Docker."""
    return f"python {word(out / ENTRY)} INPUT OUTPUT"
