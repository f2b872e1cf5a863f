"""What Hydra gives a launcher, without a sweep that runs."""

from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode

from strokelab.configuration import conf_folder
from strokelab.sweeps.members import plan_members


class Planning:
    """A sweep in a folder, as often planned as one likes."""

    def __init__(self, folder: Path, *task: str) -> None:
        GlobalHydra.instance().clear()
        hydra = Hydra.create_main_hydra2("train", create_config_search_path(str(conf_folder())))
        overrides = [f"hydra.sweep.dir={folder}", *task]
        self.config = hydra.compose_config("train", overrides, run_mode=RunMode.MULTIRUN)
        self.context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())

    def plan(self, *jobs: str, first: int = 0, earlier=()):
        """Jobs as lines; ``;`` between the overrides of one."""
        asked = [job.split(";") for job in jobs]
        return plan_members(self.config, self.context, asked, first=first, earlier=earlier)
