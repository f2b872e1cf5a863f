"""Validates a run's weights in several processes: ``python validate_processes.py RUN DEVICES FOLDER``.

A program of its own, because Lightning starts the further processes by starting the program again. Every process
leaves what it logged in ``FOLDER/<rank>.json``.
"""

import json
import sys
from pathlib import Path

from strokelab import runs
from strokelab.callbacks.case_metrics import CaseMetrics
from strokelab.configuration import build


def main(run_folder: str, devices: str, folder: str) -> None:
    run = runs.load_run(run_folder)
    settings = run.settings
    parts = {name: build(settings[name]) for name in ("view", "split")}
    datamodule = build(settings["data"], **parts, seed=int(settings["seed"]))
    strategy = "auto" if devices == "1" else "ddp"
    trainer = build(
        {**settings["trainer"], "devices": int(devices), "strategy": strategy},
        callbacks=[CaseMetrics(1, postprocess=run.postprocess)],
        logger=False,
        use_distributed_sampler=False,
        enable_progress_bar=False,
    )
    trainer.validate(run.model, datamodule=datamodule, verbose=False)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    (Path(folder) / f"{trainer.global_rank}.json").write_text(json.dumps(logged))


if __name__ == "__main__":
    main(*sys.argv[1:])
