"""What our yaml files may compute: ``${phantom_folder:}``, ``${groups:...}``, ``${comments:...}``, ``${unlike:a,b}``.

Registered before anything is composed. A run folder's ``config.yaml`` holds results of these, never the expressions.
"""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

_COMMENT, _WIDTH = 40, 120  # columns of --help: where comments begin and end


def register() -> None:
    """Make the resolvers known to OmegaConf; once is enough, twice does no harm."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("phantom_folder", _phantom_folder, replace=True)
    OmegaConf.register_new_resolver("groups", _groups, replace=True)
    OmegaConf.register_new_resolver("comments", _comments, replace=True)
    OmegaConf.register_new_resolver("unlike", lambda one, other: bool(one != other), replace=True)


def _phantom_folder(*, _parent_: DictConfig) -> str:
    """Where the cohort of a section ``data`` lies: below ``STROKELAB_DATA``, named after all that decides its bytes."""
    from strokelab.phantoms.naming import cohort_folder

    options = _parent_.get("layout_options") or {}
    settings = {key: _parent_[key] for key in ("spacing", "sites", "cases_per_site")}
    settings |= {"seed": _parent_.phantom_seed, "options": {str(key): options[key] for key in options}}
    place = Path(os.environ.get("STROKELAB_DATA") or "data")
    return str(cohort_folder(place, str(_parent_.layout), settings))


def _groups(*names: str) -> str:
    """Lines ``group: options`` for ``--help``: of the groups named, or of all but those named with a minus."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    loader = GlobalHydra.instance().config_loader()
    left_out = {name.removeprefix("-") for name in names if name.startswith("-")} | {"hydra"}
    listed = sorted(set(loader.list_groups("")) - left_out) if len(left_out) > 1 else names
    options = {name: loader.get_group_options(name, ObjectType.CONFIG) for name in listed}
    return "\n".join(f"{name}: {', '.join(found)}" for name, found in options.items() if found)


def _comments(config: str) -> str:
    """Lines for ``--help``: each setting of a config itself, its default, and what the file says of it."""
    from hydra.core.global_hydra import GlobalHydra

    places = {one.provider: one.path for one in GlobalHydra.instance().config_loader().get_search_path().get_path()}
    text = (Path(places["main"].removeprefix("file://")) / f"{config}.yaml").read_text(encoding="utf-8")
    said = re.findall(r"^(\w+: .*?) +# (.+)$", text, flags=re.MULTILINE)
    blank = " " * _COMMENT
    lines = [
        line
        for setting, comment in said
        for line in textwrap.wrap(
            f"{setting:<{_COMMENT - 2}}  {comment}", _WIDTH, subsequent_indent=blank, break_on_hyphens=False
        )
    ]
    return "\n".join(lines).replace("$", "$$")  # Hydra fills in names behind a single $
