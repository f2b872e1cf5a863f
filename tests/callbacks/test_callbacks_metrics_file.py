"""One row per logged step, kept over every start."""

import csv

from strokelab.callbacks.metrics_file import MetricsFile


def rows(path):
    return list(csv.DictReader(path.open(newline="")))


def log(logger, *steps):
    for step, metrics in steps:
        logger.log_metrics(metrics, step)
        logger.save()


def test_rows_are_on_disk_at_once_and_new_columns_keep_the_old_rows(tmp_path):
    path = tmp_path / "run" / "metrics.csv"
    logger = MetricsFile(path)
    log(logger, (0, {"epoch": 0.0, "loss": 1.5}), (1, {"epoch": 0, "loss": 1.25}))
    assert path.read_text().splitlines() == ["epoch,step,loss", "0,0,1.5", "0,1,1.25"]
    log(logger, (1, {"epoch": 0, "val/dice": 0.1}), (2, {"epoch": 1, "loss": 0.1 + 0.2}))
    assert path.read_text().splitlines() == [
        "epoch,step,loss,val/dice",
        "0,0,1.5,",
        "0,1,1.25,",
        "0,1,,0.1",
        f"1,2,{0.1 + 0.2},",
    ]


def test_a_resumed_run_drops_the_rows_that_will_come_again_and_no_others(tmp_path):
    path = tmp_path / "metrics.csv"
    log(MetricsFile(path), *[(step, {"epoch": step // 2, "loss": float(step)}) for step in range(6)])
    logger = MetricsFile(path, resumed_step=4)
    assert [row["step"] for row in rows(path)] == ["0", "1", "2", "3"]
    log(logger, (4, {"epoch": 2, "loss": 40.0}))
    assert [row["loss"] for row in rows(path)] == ["0.0", "1.0", "2.0", "3.0", "40.0"]


def test_a_run_without_news_and_a_lost_file(tmp_path):
    path = tmp_path / "metrics.csv"
    MetricsFile(path).finalize("success")
    assert not path.exists()
    logger = MetricsFile(path, resumed_step=3)
    assert not path.exists()
    log(logger, (3, {"epoch": 1, "loss": 1.0}))
    assert len(rows(path)) == 1
    path.unlink()
    log(logger, (4, {"epoch": 1, "loss": 2.0}))
    assert [row["step"] for row in rows(path)] == ["4"]


def test_a_new_run_does_not_continue_another_s_file(tmp_path):
    path = tmp_path / "metrics.csv"
    log(MetricsFile(path), (0, {"old": 1.0}))
    logger = MetricsFile(path)
    assert rows(path), "nothing is lost before there is something new"
    log(logger, (0, {"epoch": 0, "new": 2.0}))
    assert path.read_text().splitlines() == ["epoch,step,new", "0,0,2.0"]


def test_half_a_row_after_a_power_failure_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,loss\n0,0,1.5\n0,1\n0,,\n0,2,1.0\nepo")
    MetricsFile(path, resumed_step=9)
    assert [row["step"] for row in rows(path)] == ["0", "2"]


def test_lightning_finds_what_it_asks_for(tmp_path):
    logger = MetricsFile(tmp_path / "metrics.csv")
    assert (logger.name, logger.version, logger.save_dir) == ("", "", str(tmp_path))
    logger.log_hyperparams({"a": 1})
    assert list(tmp_path.iterdir()) == []
