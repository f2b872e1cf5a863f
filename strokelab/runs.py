"""The run folder: everything one training left, and the only thing prediction and evaluation need.

The one reader and writer of run folders. Layout::

    config.yaml       every setting, resolved, late facts bound        split.csv      who was trained on and who not
    sites.json        training sites in the classifier's order         metrics.csv    one row per logged step
    checkpoints/      last.ckpt, best.ckpt                             cases.csv      the test part, scored
    environment.json  versions, machine, git commit                    status.json    running | finished | failed
"""

from __future__ import annotations

import json
import pickle
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from strokelab import __version__
from strokelab.configuration import REBUILT, Settings, build_untrusted
from strokelab.contract import Case, Prediction, PreparedCase
from strokelab.data.readers.folder import cases_from_paths
from strokelab.data.splits import Split
from strokelab.errors import RunError
from strokelab.files import make_folder, write_json, write_text
from strokelab.inference.predict import predict_case
from strokelab.preparation.recipe import prepare

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter
    from strokelab.view import View

CONFIG = "config.yaml"
SPLIT = "split.csv"
SITES = "sites.json"
METRICS = "metrics.csv"
CASES = "cases.csv"
ENVIRONMENT = "environment.json"
STATUS = "status.json"
CHECKPOINTS = "checkpoints"

_PACKAGES = ("torch", "lightning", "hydra-core", "numpy", "scipy", "nibabel", "torchmetrics")


def write_start(folder: Path, settings: Settings, split: Split, sites: Mapping[str, int]) -> None:
    """Write what is known before training starts: config, split, sites, environment, status.

    Raises:
        DataError: the folder cannot be written to.
    """
    make_folder(folder)
    make_folder(folder / CHECKPOINTS)
    write_text(folder / CONFIG, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    split.write(folder / SPLIT)
    write_json(folder / SITES, dict(sites))
    write_json(folder / ENVIRONMENT, environment())
    write_status(folder, "running")


def write_status(folder: Path, state: str, **details: Any) -> None:
    """Say how the run stands: ``running``, ``finished``, ``killed`` or ``failed`` with the first line of the error."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / STATUS, {"state": state, "time": stamp, **details})


def read_status(folder: Path) -> dict[str, Any]:
    """The content of ``status.json``; ``{"state": "unknown"}`` when there is none."""
    path = folder / STATUS
    return json.loads(path.read_text()) if path.is_file() else {"state": "unknown"}


def environment() -> dict[str, Any]:
    """Versions, machine and commit a result was made with."""
    import torch

    return {
        "strokelab": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def read_settings(folder: Path) -> Settings:
    """The resolved config of a run as plain data; nothing in it is interpreted.

    Raises:
        RunError: there is no run folder, or its config is no YAML mapping with a model, a view and a cohort.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise RunError(
            folder,
            found=f"no {CONFIG}" if folder.is_dir() else "no such folder",
            expected="a run folder that train.py wrote",
            remedy="name the folder that holds config.yaml and checkpoints/",
        )
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise RunError(
            path, found=f"no plain YAML ({first})", expected="the config train.py wrote", remedy="copy the run again"
        ) from error
    needed = (*REBUILT, "cohort")
    missing = [key for key in needed if not isinstance(settings, dict) or not isinstance(settings.get(key), dict)]
    if missing:
        raise RunError(path, found=f"no {missing}", expected=f"sections {list(needed)}", remedy="copy the run again")
    return dict(settings)


@dataclass
class Run:
    """A trained run, ready to predict."""

    folder: Path
    settings: Settings
    model: Segmenter  # evaluation mode, weights loaded
    view: View
    postprocess: Callable[..., NDArray[np.uint8]]
    checkpoint: Path
    sites: Mapping[str, int]  # training site -> index
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How tables call the run."""
        return str(self.settings.get("name", self.folder.name))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The images a case must have, in channel order."""
        return tuple(self.view.preparation.modalities)

    @property
    def split(self) -> Split:
        """Who was in the training, validation and test part.

        Raises:
            RunError: the split is missing from the folder.
        """
        path = self.folder / SPLIT
        if not path.is_file():
            raise RunError(path, found="no such file", expected="the split of the run", remedy="copy the run again")
        return Split.read(path)

    def predict(self, item: Case | Path | str | Sequence[Path | str]) -> Prediction:
        """Lesion mask and probability of one case on the grid of its input.

        Args:
            item: a ``Case``; or the file(s) or folder of one scan session, one file per modality of the run. Neither
                labels nor a site are needed.

        Raises:
            DataError: the files are not readable, or not exactly one case with the run's modalities.
        """
        if not isinstance(item, Case):
            paths = [item] if isinstance(item, (str, Path)) else list(item)
            cases = cases_from_paths([Path(path) for path in paths], self.modalities)
            if len(cases) != 1:
                raise RunError(
                    ", ".join(map(str, paths)),
                    found=f"{len(cases)} cases",
                    expected="the files of one case",
                    remedy="call predict once per case, or use `strokelab predict` for many",
                )
            item = cases[0]
        return self.predict_prepared(prepare(item, self.view.preparation))

    def predict_prepared(self, prepared: PreparedCase) -> Prediction:
        """As ``predict``, from a case that already lies on the model's grid."""
        return predict_case(
            prepared,
            predict=self.model.predict_scores,
            windows=self.view.windows,
            postprocess=self.postprocess,
            lesion_channel=self.model.lesion_channel,
            device=self.model.device,
            provenance=self.provenance,
        )


def load_run(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    device: str = "cpu",
    allow: Sequence[str] = (),
    postprocess: Mapping[str, Any] | None = None,
) -> Run:
    """Rebuild a trained run from its folder alone, wherever it was moved to.

    Args:
        path: the run folder.
        checkpoint: ``"last"``, ``"best"``, or a file; default: what the run was configured to use.
        device: where the model goes, e.g. ``"cpu"``, ``"cuda"``.
        allow: dotted prefixes of the caller's own classes that the run's config may build.
        postprocess: a post-processing node in place of the run's own.

    Raises:
        RunError: the folder is no run, or its checkpoint is missing, damaged or of another model.
        ConfigError: its config wants to build something outside the allow-list.
    """
    folder = Path(path).resolve()
    settings = read_settings(folder)
    where = folder / CONFIG
    view_node = {**settings["view"], "augment": None}  # training only, and may hold transforms of other libraries
    view = build_untrusted(view_node, allow=allow, where=where)
    model = build_untrusted(settings["model"], allow=allow, where=where)
    post = build_untrusted(postprocess or settings["postprocess"], allow=allow, where=where)
    file = find_checkpoint(folder, checkpoint or str(settings.get("checkpoint", "last")))
    load_weights(model, file)
    model.eval().to(device)
    sites_file = folder / SITES
    sites = json.loads(sites_file.read_text()) if sites_file.is_file() else {}
    provenance = {
        "run": folder.name,
        "model": str(settings.get("name", "")),
        "checkpoint": file.name,
        "postprocess": json.dumps(postprocess or settings["postprocess"]),
        "strokelab": __version__,
    }
    return Run(folder, settings, model, view, post, file, sites, provenance)


def find_checkpoint(folder: Path, name: str) -> Path:
    """The checkpoint ``last`` or ``best`` of a run folder, or a file by path.

    Raises:
        RunError: it does not exist; the message lists those that do.
    """
    candidates = [folder / CHECKPOINTS / f"{name}.ckpt", folder / CHECKPOINTS / name, Path(name)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    there = sorted(file.name for file in (folder / CHECKPOINTS).glob("*.ckpt"))
    raise RunError(
        candidates[0],
        found="no such file" + (f"; there are {there}" if there else "; the run has no checkpoint yet"),
        expected="a checkpoint of this run",
        remedy="wait for the first epoch to end, resume the run, or choose another with checkpoint=",
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; only tensors and plain data are ever unpickled.

    Raises:
        RunError: the file is damaged, or holds more than numbers and plain data.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise RunError(
            path,
            found=f"a file that cannot be read safely ({str(error).splitlines()[0][:160]})",
            expected="a checkpoint of numbers and plain data, as train.py writes it",
            remedy="copy it again; never load it with weights_only=False unless you trust its author",
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise RunError(path, found="no state_dict", expected="a Lightning checkpoint", remedy="choose another file")
    return content


def load_weights(model: Segmenter, path: Path) -> None:
    """Load a checkpoint's weights into a model, all or none.

    Raises:
        RunError: names or shapes are those of another model.
    """
    state = read_checkpoint(path)["state_dict"]
    own = model.state_dict()
    wrong = [
        name
        for name in sorted(own.keys() | state.keys())
        if name not in own or name not in state or own[name].shape != state[name].shape
    ]
    if wrong:
        raise RunError(
            path,
            found=f"weights of another model: {len(wrong)} entries differ, first {wrong[:3]}",
            expected="the weights of the model in config.yaml",
            remedy="choose the checkpoint that lies in the same run folder",
        )
    model.load_state_dict(state)


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
