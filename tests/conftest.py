"""What every test may ask for: phantom cohorts written once per session, tiny trained runs, warm doors.

Nothing a test does touches the user's cache or data: all places point into the session's temporary folder.
"""

import gc
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from sketches import sketch
from tiny_runs import SHORT_MAIN, tiny_settings
from warm_doors import Doors

from strokelab.phantoms.cohort import write_cohort


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules of real processes and minutes first, so that at the end no worker is alone with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.path.parent.name == "system"}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory) -> Path:
    """One folder for all workers of this session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def _private_places(session_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STROKELAB_STORE", str(session_folder / "store"))
        patch.setenv("STROKELAB_DATA", str(session_folder / "data"))
        patch.setenv("XDG_STATE_HOME", str(session_folder / "state"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _sketched_figures():
    sketch()


@pytest.fixture(scope="session")
def t1_cohort(session_folder) -> Path:
    """Nine scans of three sites, ATLAS v1.2 layout, 8 mm: 25 x 29 x 24 voxels."""
    folder = session_folder / "cohort-t1"
    return write_cohort("atlas_v1", folder, spacing=8.0, sites=3, cases_per_site=3, progress=False)


@pytest.fixture(scope="session")
def isles_cohort(session_folder) -> Path:
    """Six cases of two centres with DWI, ADC and FLAIR, ISLES 2022 layout, 8 mm."""
    folder = session_folder / "cohort-isles2022"
    return write_cohort("isles2022", folder, spacing=8.0, sites=2, cases_per_site=3, progress=False)


@pytest.fixture(scope="session")
def doors():
    """The commands of the house in a process that has imported everything already."""
    with Doors() as warm:
        yield warm


@pytest.fixture(scope="session")
def tiny(t1_cohort) -> list[str]:
    """Settings that train SG-Net for eight steps in a second; add ``run_dir=...``."""
    return tiny_settings(t1_cohort)


@pytest.fixture(scope="session")
def trained_run(session_folder, doors, tiny) -> Path:
    """A finished SG-Net run with site 1 held out. Copy it before you change it (``a_run``)."""
    return _trained(session_folder, doors, "run-sgnet", [*tiny, SHORT_MAIN])


@pytest.fixture(scope="session")
def trained_unet(session_folder, doors, tiny) -> Path:
    """As ``trained_run``, the plain U-Net."""
    return _trained(session_folder, doors, "run-unet2d", [*tiny, "model=unet2d"])


def _trained(session_folder: Path, doors: Doors, name: str, settings: list[str]) -> Path:
    folder = session_folder / name
    with FileLock(str(folder) + ".lock"):  # one worker trains, the others wait
        if not (folder / "status.json").is_file():
            doors.train(*settings, f"run_dir={folder}", cwd=session_folder).check()
    return folder


@pytest.fixture
def a_run(trained_run, tmp_path) -> Path:
    """A copy of the trained run in another place, to be changed at will."""
    return Path(shutil.copytree(trained_run, tmp_path / "somewhere else" / "run"))
