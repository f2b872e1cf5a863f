"""How a run predicts: precision as trained or by name, other windows for a quick look, both told in its provenance."""

import shutil
from pathlib import Path

import pytest
import yaml

from strokelab.errors import ConfigError, StrokelabError
from strokelab.inference.precision import settle
from strokelab.runs import load_run
from strokelab.scoring.cases import recipe_of


@pytest.fixture
def bf16_run(trained_run, tmp_path):
    """A run that says it was trained in bf16, with windows around windows."""
    folder = Path(shutil.copytree(trained_run, tmp_path / "run"))
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["trainer"]["precision"] = "bf16-mixed"
    plan = {"_target_": "strokelab.inference.windows.PatchWindows", "patch": [16, 16, 16], "mirror": "xyz"}
    settings["view"]["windows"] = {"_target_": "strokelab.inference.geometric_mean.GeometricMean", "windows": plan}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_a_run_predicts_as_it_was_trained_and_says_so(trained_run, bf16_run):
    assert (load_run(trained_run).precision, load_run(trained_run).provenance["inference"]) == ("32", "32")
    own = load_run(bf16_run)
    assert own.precision == own.provenance["inference"] == settle("as_trained", trained="bf16-mixed", device="cpu")
    assert load_run(bf16_run, precision="32").precision == "32"


def test_other_windows_are_part_of_the_recipe_unless_they_change_no_number(bf16_run):
    def recipe(**windows):
        return recipe_of(load_run(bf16_run, precision="bf16", windows=windows), "default")["inference"]

    assert recipe() == recipe(batch_size=4, accumulate="host") == recipe(mirror="xyz") == "bf16"
    assert recipe(step=0.75, mirror="none") == "bf16, mirror=none, step=0.75"
    assert load_run(bf16_run, windows={"mirror": "none"}).view.windows.windows.mirror == "none"


def test_windows_that_a_run_does_not_have_and_a_precision_that_no_one_has_are_refused(trained_run, bf16_run):
    with pytest.raises(StrokelabError, match="step"):
        load_run(trained_run, windows={"step": 0.5})  # slices
    with pytest.raises(ConfigError, match=r"view\.windows\.step"):
        load_run(bf16_run, windows={"step": 7})
    with pytest.raises(ConfigError, match="precision"):
        load_run(bf16_run, precision="16")
    with pytest.raises(ConfigError, match="allow-list"):
        load_run(bf16_run, windows={"_target_": "os.system"})
