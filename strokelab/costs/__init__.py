"""``strokelab cost``: what every model costs, counted and timed, beside what SG-Net's paper prints. Knows no case."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rich.table
import yaml
from rich import box
from rich.console import Console
from rich.markup import escape

from strokelab.configuration import bind, build, build_model, compose, conf_folder, plain
from strokelab.configuration.building import target_of
from strokelab.configuration.late_facts import DEFAULT_FACTS
from strokelab.costs.memory import Step, Training, largest_table, step_table, steps_of
from strokelab.errors import ConfigError
from strokelab.files import make_folder
from strokelab.grid import resample
from strokelab.inference.timing import Timing, time_case
from strokelab.models.cost import ModelCost, model_cost
from strokelab.networks.unet import UNet
from strokelab.preparation.recipe import plan_steps
from strokelab.preparation.template import MNI, template_brain
from strokelab.report.cells import NOTHING, Cell, Table, number_cell
from strokelab.report.exports import write_tables
from strokelab.report.paper_tables import Number, PaperRow, load_tables

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter
    from strokelab.view import View

PARTS = ("standardizer", "hemispheres", "adversary")

_MIB = 2**20


@dataclass(frozen=True)
class Measured:
    """One model of ``conf/model``."""

    name: str
    cost: ModelCost
    parts: frozenset[str] | None  # of SG-Net's that are switched on; None: another network than its U-Net
    window_macs: int  # multiply-accumulates of what is predicted at once, which need not be of the sample's size
    timing: Timing | None = None
    steps: tuple[Step, ...] = ()  # of training, whose memory was asked for


def every_model() -> list[str]:
    """The names in ``conf/model``, but those of an extra that is not installed (``of_missing_extras``)."""
    left_out = of_missing_extras()
    return [name for name in _names() if name not in left_out]


def of_missing_extras() -> list[str]:
    """The models whose network says that its packages are not there."""
    files = {name: conf_folder() / "model" / f"{name}.yaml" for name in _names()}
    models = {name: yaml.safe_load(file.read_text()).get("model") or {} for name, file in files.items()}
    networks = {name: target_of(model.get("network")) for name, model in models.items()}
    return [name for name, network in networks.items() if not getattr(network, "available", _always)()]


def _always() -> bool:
    return True


def _names() -> list[str]:
    return sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml"))


def measure(
    name: str, *, seconds: bool = True, samples: int = 4, device: str = "cpu", training: Training | None = None
) -> Measured:
    """Build a model with fresh weights, count it, and time it on a synthetic case of its own grid.

    Args:
        name: of a file in ``conf/model``.
        seconds: whether to time it.
        samples: how many samples of the case to compute; 0 = all.
        device: where to time.
        training: of which training steps to reckon the memory; None: of none.

    Raises:
        ConfigError: there is no such model, it does not say what it sees, or the device is not there.
    """
    import torch

    with torch.device("cpu" if seconds else "meta"):  # counting needs shapes alone
        model = build_model(name).eval()
    view: View = build(bind(plain(compose("train", [f"model={name}"]))["view"], DEFAULT_FACTS, at="view"))
    sample = view.input_shape
    if sample is None:
        raise ConfigError(
            f"conf/model/{name}.yaml",
            found="a view whose samples take their size from the case",
            expected="a size, on which costs can be counted",
            remedy="set view.preparation.crop",
        )
    cost = model_cost(model, sample)
    shape = getattr(view.windows, "sample_shape", lambda crop: None)(view.preparation.crop)
    window_macs = cost.macs if shape in (None, sample) else model_cost(model, shape).macs
    switched_on = frozenset(part for part in PARTS if getattr(model, part) is not None)
    parts = switched_on if type(model.network) is UNet else None
    steps = () if training is None else steps_of(name, model, sample, training, device=device)
    timing = _time(model, view, samples, device) if seconds else None
    return Measured(name, cost, parts, window_macs, timing, steps)


def cost_table(measured: Sequence[Measured], *, machine: str) -> Table:
    """All models, one row each.

    Args:
        measured: the models.
        machine: where they were timed, for the note.
    """
    timed = any(item.timing for item in measured)
    header = [
        "Model",
        "Sample",
        "Parameters (M)",
        "of these in training only (M)",
        "GMAC",
        "GFLOP",
        "GMAC, training forward",
        "Layer outputs (MiB)",
        "Kept for backward (MiB)",
        *(["Samples per case", "TMAC per case", "Seconds per case"] if timed else []),
    ]
    return Table(
        "What a model costs",
        tuple(header),
        tuple(_row(m, timed) for m in measured),
        _notes(measured, machine),
        name="costs",
    )


def beside_the_paper(measured: Sequence[Measured]) -> Table | None:
    """The cost columns of SG-Net's Tables IV and V with ours; None when no model sees slices with its parts."""
    rows = []
    slicewise = [item for item in measured if len(item.cost.sample) == 2]
    tables = [table for table in load_tables(conf_folder(), "sgnet_*") if any("macc_g" in key for key in table.columns)]
    columns = ("parameters_m", "memory_mb", "macc_g", "flops_g")
    for table in tables:
        for printed in table.rows:
            values = {key.removeprefix("training_"): value for key, value in printed.values.items()}
            prefix = "training_" if any(key.startswith("training_") for key in table.columns) else ""
            for own in (m for m in slicewise if _is_of(printed, m)):
                cells = [Cell(own.name, heading=True), Cell(f"{table.title.partition(':')[0]}, {printed.method}")]
                for key in columns:
                    theirs, ours = values.get(key), own.cost.torchstat.get(f"{prefix}{key}" if key in values else "")
                    cells.append(number_cell(theirs.mean, 2) if isinstance(theirs, Number) else Cell(NOTHING))
                    cells.append(Cell(NOTHING) if ours is None else Cell(f"{ours:.2f}", ours, ours=True))
                rows.append(tuple(cells))
    if not rows:
        return None
    names = ("Parameters (M)", "Memory (MB)", "MACC (G)", "FLOPs (G)")
    header = ("Model", "Row of the paper", *(f"{name}, {whose}" for name in names for whose in ("paper", "ours")))
    notes = (
        "In the units of torchstat, as the paper has them: memory is the float32 outputs of the layers it counts; "
        "MACC is multiplications and additions, about twice the multiply-accumulates; FLOPs are multiply-accumulates, "
        "norms and activations. With hemispheres memory and MACC are those of one half, FLOPs those of both. Table IV "
        "counts the site classifier, Table V does not.",
        *dict.fromkeys(
            note for table in tables for note in table.footnotes if "33.6" in note or note.startswith("Costs:")
        ),
    )
    return Table("SG-Net's Tables IV and V, counted again", header, tuple(rows), notes, name="costs_sgnet")


def _is_of(printed: PaperRow, own: Measured) -> bool:
    """Whether a printed row is about a model: by its name, or SG-Net's family by its parts."""
    if printed.models:
        return own.name in printed.models
    return printed.parts is not None and own.parts == printed.parts


def print_costs(
    names: Sequence[str],
    *,
    out: Path | None,
    seconds: bool,
    samples: int,
    device: str,
    console: Console,
    training: Training | None = None,
) -> list[Table]:
    """The command: measure, print, write.

    Args:
        names: models; none = all.
        out: folder for ``tables/costs.csv`` and ``.tex``; None writes nothing.
        seconds: whether to time.
        samples: see ``measure``.
        device: see ``measure``.
        console: where to print.
        training: see ``measure``; with it also the largest crop that fits into devices of several sizes.

    Raises:
        ConfigError: see ``measure``.
        DataError: the folder cannot be written to.
    """
    if out is not None:
        make_folder(out)  # before minutes of timing
    if not names and (left_out := of_missing_extras()):
        console.print(f"Left out, of an extra that is not installed: {', '.join(left_out)}", markup=False)
    measured = []
    for name in names or every_model():
        with console.status(f"{name}: counting{' and timing' if seconds else ''}"):
            measured.append(measure(name, seconds=seconds, samples=samples, device=device, training=training))
    tables = [cost_table(measured, machine=machine_of(device if seconds else "cpu")), beside_the_paper(measured)]
    if training is not None:
        steps = [step for item in measured for step in item.steps]
        machine = machine_of(device) if training.measured else ""
        with console.status("the largest crops"):
            tables += [step_table(steps, device=device, machine=machine), largest_table([m.name for m in measured])]
    found = [table for table in tables if table is not None]
    for table in found:
        console.print(_upright(table))
        for note in table.notes:
            console.print(f"- {note}", style="dim", markup=False, highlight=False)
    if out is not None:
        for path in write_tables(found, out):
            console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return found


def _upright(table: Table) -> rich.table.Table:
    """For the terminal: models side by side, quantities below each other, so that it fits eighty columns."""
    shown = rich.table.Table(title=table.caption, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    shown.add_column(table.header[0])
    for row in table.rows:
        shown.add_column(escape(row[0].text), justify="right")
    for index, heading in enumerate(table.header[1:], start=1):
        shown.add_row(escape(heading), *(escape(row[index].text) for row in table.rows))
    return shown


def machine_of(device: str) -> str:
    """Processor and threads, or the name of the GPU."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{processor}, {threads} thread{'' if threads == 1 else 's'}, PyTorch {torch.__version__}"


def _time(model: Segmenter, view: View, samples: int, device: str) -> Timing:
    steps = plan_steps(MNI, view.preparation)
    grid = steps[-1].target if steps else MNI
    brain = resample(template_brain(MNI).astype(np.float32), MNI, grid, "linear") >= 0.5
    shape = view.case_channels, *grid.shape
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)  # never negative, which some networks refuse
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        raise ConfigError(
            f"--device {device}",
            found=str(error).splitlines()[0],
            expected="a device of this machine, e.g. cpu or cuda:0",
            remedy="use --device cpu, or --no-seconds",
        ) from error
    arguments: dict[str, Any] = {"predict": model.predict_scores, "windows": view.windows}
    return time_case(noise * brain, brain, samples=samples, device=device, **arguments)


def _row(item: Measured, timed: bool) -> tuple[Cell, ...]:
    cost, timing = item.cost, item.timing
    training_only = cost.parameters - cost.parameters_inference
    cells = [
        Cell(item.name, heading=True),
        Cell(" x ".join(map(str, cost.sample))),
        number_cell(cost.parameters / 1e6, 3),
        number_cell(training_only / 1e6, 3),
        number_cell(cost.macs / 1e9, 3),
        number_cell(2 * cost.macs / 1e9, 3),
        number_cell(cost.training_macs / 1e9, 3),
        number_cell(cost.activation_bytes / _MIB, 1),
        number_cell(cost.saved_bytes / _MIB, 1),
    ]
    if timed and timing is None:
        cells += [Cell(NOTHING)] * 3
    elif timing is not None:
        approximate = "≈ " if timing.scaled else ""
        cells += [
            Cell(str(timing.samples), float(timing.samples)),
            number_cell(item.window_macs * timing.samples / 1e12, 3),
            Cell(f"{approximate}{timing.seconds:.1f}", timing.seconds),
        ]
    return tuple(cells)


def _notes(measured: Sequence[Measured], machine: str) -> tuple[str, ...]:
    notes = [
        "One sample is a whole slice or patch, one channel, both hemispheres where they are split. GMAC: "
        "multiply-accumulates of a prediction as PyTorch counts them; GFLOP is twice that. Layer outputs: of a "
        "prediction, float32. Kept for backward: activations of a training step of one sample, float32; weights and "
        "optimiser come on top.",
    ]
    timed = [(item.name, item.timing) for item in measured if item.timing is not None]
    if timed:
        notes.append(
            "Seconds: fresh weights, one synthetic case with the MNI brain on the model's grid, network and windows "
            f"without preparation and without the way back, on {machine}."
        )
    parts = [f"{name} from {timing.timed} of {timing.samples} samples" for name, timing in timed if timing.scaled]
    return (*notes, f"≈ is reckoned from a part of the case: {', '.join(parts)}.") if parts else tuple(notes)
