"""``strokelab cost``: every model has a row, SG-Net's published columns come out, files are written."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from strokelab import cli
from strokelab.configuration import bind, build, compose, plain
from strokelab.configuration.late_facts import DEFAULT_FACTS
from strokelab.costs import Measured, _time, beside_the_paper, cost_table, every_model, machine_of, measure
from strokelab.costs.memory import Training, crop_of, step_table
from strokelab.errors import ConfigError
from strokelab.inference.timing import Timing


@pytest.fixture(scope="module")
def counted() -> dict[str, Measured]:
    return {name: measure(name, seconds=False) for name in every_model()}


def test_every_model_of_the_config_has_a_row(counted):
    table = cost_table(list(counted.values()), machine="m")
    assert {"sgnet", "unet2d"} <= set(every_model())
    assert [row[0].text for row in table.rows] == every_model()
    assert all(len(row) == len(table.header) for row in table.rows)
    assert "Seconds per case" not in table.header


def test_numbers_of_the_u_net_and_sgnet(counted):
    table = cost_table([counted["unet2d"], counted["sgnet"]], machine="m")
    shown = {row[0].text: dict(zip(table.header, (cell.text for cell in row), strict=True)) for row in table.rows}
    assert shown["unet2d"]["Sample"] == "224 x 192"
    assert (shown["unet2d"]["GMAC"], shown["unet2d"]["GFLOP"]) == ("31.560", "63.121")
    assert (shown["sgnet"]["Parameters (M)"], shown["sgnet"]["of these in training only (M)"]) == ("48.523", "18.887")
    assert shown["sgnet"]["GMAC, training forward"] == "33.543"


def test_the_papers_columns_stand_beside_ours_as_printed(counted):
    table = beside_the_paper(list(counted.values()))
    rows = {row[1].text: dict(zip(table.header, (cell.text for cell in row), strict=True)) for row in table.rows}
    trunks = {"SG-Net Table V, ResUNet", "SG-Net Table V, PSPNet", "SG-Net Table V, DeepLabv3+"}
    family = {"SG-Net Table IV, SG-Net with DA", "SG-Net Table V, U-Net", "SG-Net Table V, SG-Net"}
    nnunet = "SG-Net Table V, nnU-Net"  # counted at 224 x 224
    assert set(rows) >= {*trunks, *family, nnunet}
    misprints = {("SG-Net Table V, SG-Net", "FLOPs (G)"), ("SG-Net Table V, U-Net", "MACC (G)")}
    misprints |= {(f"SG-Net Table V, {name}", "Parameters (M)") for name in ("U-Net", "ResUNet", "PSPNet")}
    misprints |= {("SG-Net Table V, DeepLabv3+", "Memory (MB)")}  # ours with its sigmoid
    misprints |= {(nnunet, column) for column in ("Memory (MB)", "MACC (G)", "FLOPs (G)")}
    rows = {method: row for method, row in rows.items() if method in {*trunks, *family, nnunet}}
    for method, row in rows.items():
        for column in ("Parameters (M)", "Memory (MB)", "MACC (G)", "FLOPs (G)"):
            alike = row[f"{column}, paper"] == row[f"{column}, ours"]
            assert alike != ((method, column) in misprints), (method, column)
    assert rows["SG-Net Table IV, SG-Net with DA"]["MACC (G), ours"] == "33.59"
    assert any("misprint" in note for note in table.notes)


def test_a_case_costs_what_its_windows_cost(counted):
    """3D ResU-Net is trained on 128^3 and predicts 144 x 172 x 168 at once; the others predict what they train on."""
    assert round(counted["resunet3d"].cost.macs / 1e9) == 665
    assert round(counted["resunet3d"].window_macs / 1e9) == 1318
    assert all(one.window_macs == one.cost.macs for name, one in counted.items() if name != "resunet3d")


def test_models_of_other_kinds_stand_beside_no_row(counted):
    odd = Measured("odd", counted["sgnet"].cost, frozenset({"hemispheres"}), window_macs=0)
    other = Measured("pspnet", counted["pspnet"].cost, None, window_macs=0)
    assert beside_the_paper([odd, other]) is None


def test_reckoned_seconds_are_marked_and_explained(counted):
    cost = counted["unet2d"].cost
    parts = Measured("a", cost, frozenset(), cost.macs, Timing(160.0, samples=150, timed=4))
    whole = Measured("b", cost, frozenset(), cost.macs, Timing(158.0, samples=150, timed=150))
    table = cost_table([parts, whole, counted["sgnet"]], machine="an abacus, 1 thread")
    column = table.header.index("Seconds per case")
    assert [row[column].text for row in table.rows] == ["≈ 160.0", "158.0", "–"]
    assert table.rows[0][column].number == 160.0
    assert table.rows[0][column - 1].text == f"{cost.macs * 150 / 1e12:.3f}"
    assert "an abacus, 1 thread" in " ".join(table.notes)
    assert "a from 4 of 150 samples." in table.notes[-1]


def test_the_command_prints_and_writes(tmp_path):
    done = CliRunner().invoke(
        cli.app, ["cost", "unet2d", "--samples", "1", "--out", str(tmp_path)], env={"COLUMNS": "80"}
    )
    assert done.exit_code == 0, done.output
    for words in ("Seconds per case", "153", "28.948", "SG-Net Table V", "from 1 of 153 samples"):
        assert words in done.output
    table = pd.read_csv(tmp_path / "tables" / "costs.csv")
    assert table["Model"].tolist() == ["unet2d"]
    assert table["Seconds per case [number]"].item() > 1
    assert "unet2d" in (tmp_path / "tables" / "costs.tex").read_text()
    assert (tmp_path / "tables" / "costs_sgnet.csv").is_file()


def test_a_model_that_is_not_there_and_a_device_that_is_not(monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'sgnet'"):
        measure("sgnett")
    with pytest.raises(ConfigError, match="--device cuda:99"):
        measure("unet2d", device="cuda:99")


def test_a_network_that_takes_no_negative_values_is_timed():
    small = ["view.preparation.spacing=[8,8,8]", "view.windows.window=[16,16,16]", "model.network.base=4", "run_dir=x"]
    settings = plain(compose("train", ["model=resunet3d", *small]))
    model = build(bind(settings["model"], DEFAULT_FACTS, at="model"))
    timing = _time(model, build(settings["view"]), samples=0, device="cpu")
    assert (timing.samples, timing.timed) == (1, 1)
    assert timing.seconds > 0


def test_the_machine_is_named_with_its_threads():
    assert "thread" in machine_of("cpu")
    assert "PyTorch" in machine_of("cpu")


def test_steps_of_the_crops_that_a_network_can_take():
    asked = Training(crops=((32, 32, 32), (30, 30, 30), (64, 64)))
    steps = measure("sunet", seconds=False, training=asked).steps
    assert [(step.sample, step.precision) for step in steps] == [
        (crop, precision) for crop in ((24, 24, 16), (32, 32, 32)) for precision in ("float32", "bf16")
    ]
    table = step_table(steps, device="cpu", machine="m")
    assert all(len(row) == len(table.header) for row in table.rows)
    assert steps[2].memory.kept == pytest.approx(steps[0].memory.kept * 32**3 / (24 * 24 * 16), rel=0.02)


def test_a_crop_is_sides():
    assert crop_of("64x48x32") == (64, 48, 32)
    with pytest.raises(ConfigError, match="64x64x64"):
        crop_of("64,64")
