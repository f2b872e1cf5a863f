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

_DOCKERFILE = """\
# {title}: {page}. Written by strokelab {version}.
FROM python:{python}-slim
RUN useradd --create-home --uid 1000 algorithm && mkdir -p /input /output && chown algorithm /output
WORKDIR /opt/algorithm
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
# The root is read-only when it runs, and /tmp is empty: everything that is written goes there or to /output.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \\
    STROKELAB_STORE=/tmp/strokelab MPLCONFIGDIR=/tmp/matplotlib
COPY . .
USER algorithm
ENTRYPOINT ["python", "/opt/algorithm/process.py"]
"""
_ENTRY = '''\
"""Segments the scans in /input and writes masks into /output. With arguments: another input, output, device."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from strokelab.errors import StrokelabError, plain_warnings  # noqa: E402
from strokelab.exchange.challenge import Challenge, process  # noqa: E402


def main(inputs="/input", outputs="/output", device=""):
    plain_warnings()
    challenge = Challenge(**json.loads((HERE / "challenge.json").read_text(encoding="utf-8")))
    try:
        masks = process(challenge, HERE / "model.zip", Path(inputs), Path(outputs), device=device)
    except StrokelabError as error:
        print(error, file=sys.stderr)
        return 1
    print("\\n".join(map(str, masks)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
'''
_TEST = """\
#!/usr/bin/env bash
# Builds the container and runs it as the platform does: no network, no rights, a read-only root.
# ./test.sh INPUT    a folder with images/{first}/*.mha ({names})
set -euo pipefail
cd "$(dirname "$0")"
input=$(cd "${{1:?name the input folder}}" && pwd)
output=$(mktemp -d)
chmod 777 "$output"
gpus=()
command -v nvidia-smi > /dev/null && gpus=(--gpus all)
docker build -t strokelab-{name} .
docker run --rm "${{gpus[@]}}" --network none --cap-drop ALL --security-opt no-new-privileges --read-only \\
    --tmpfs /tmp:exec,mode=1777 --shm-size 1g -v "$input:/input:ro" -v "$output:/output" strokelab-{name}
ls "$output/images/{mask}/"*.mha
echo "The mask is there. To upload: docker save strokelab-{name} | gzip -c > strokelab-{name}.tar.gz"
"""
_README = """\
# {title}

Written by `strokelab export-challenge`, version {version}. The model's card lies in `model.zip` (`model_card.md`).

```text
python process.py INPUT OUTPUT                      without Docker, where strokelab's requirements are installed
./test.sh INPUT                                     builds it, and runs it as the platform does
docker save strokelab-{name} | gzip -c > strokelab-{name}.tar.gz     what is uploaded
```

INPUT holds {folders}; OUTPUT gets `images/{mask}/NAME.mha`, NAME as the {grid} has it, and `results.json`.
"""


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
        **{"title": challenge.title, "page": challenge.page, "version": __version__, "name": name},
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
        write_text(place / "Dockerfile", _DOCKERFILE.format_map(words))
        write_text(place / ENTRY, _ENTRY)
        write_text(place / TEST, _TEST.format_map(words))
        (place / TEST).chmod(0o755)
        write_text(place / NEEDS, "\n".join(requirements()) + "\n")
        write_text(place / "README.md", _README.format_map(words))
        _copy_source(place / "strokelab")
    return out


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
