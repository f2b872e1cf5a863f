"""What one training, one case, the disk and a node take. Pure arithmetic, every sum shown.

Every result is a ``Line``: its formula with the numbers put in, and where the numbers come from, so that a reader can
replace them by those of another machine and check the sum by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from strokelab.campaign.plan import Campaign, case_seconds, requeues, step_seconds, teachers, training_hours

_GB = 1e9


@dataclass(frozen=True)
class Line:
    """One result.

    Args:
        name: what it is.
        value: the number.
        unit: of the number.
        formula: how it came about, with the numbers put in.
        source: where the numbers come from.
    """

    name: str
    value: float
    unit: str
    formula: str
    source: str


def gpu_hours(campaign: Campaign) -> Line:
    """GPU-hours of everything on single GPUs."""
    plain, slowest = training_hours(campaign, work=1.0), training_hours(campaign)
    predictions = teachers(campaign) * campaign.unlabelled * campaign.self_training
    case = case_seconds(campaign)
    return Line(
        "GPU-hours",
        campaign.folds * ((campaign.schemes - 1) * plain + slowest) + predictions * case / 3600,
        "h",
        f"{campaign.folds} x ({campaign.schemes - 1} x {plain:.3g} h + {slowest:.3g} h) + {predictions} x {case:.3g} s",
        "one scheme is the slowest, the others are plain; pseudo-labels by every training that came before",
    )


def costs(campaign: Campaign) -> list[Line]:
    """What one training, one case and one node take, whatever the number of GPUs."""
    c = campaign
    step, case = step_seconds(c), case_seconds(c)
    work = c.slowest * c.epochs * (c.iterations + c.validation / 3)
    requeued = requeues(c, (work * step + math.ceil(c.cases / c.folds) * case) / 3600)
    return [
        Line("training step", step, "s", *_rate(c.seconds_per_step, c.step_tflop, c, "2 x 477.3 GMAC x 3 x 2 patches")),
        Line(
            "predicting a case",
            case,
            "s",
            f"{_rate(c.seconds_per_case, c.case_tflop, c, '')[0]} + {c.host_seconds:g} s",
            "18 windows x 8 flips x 2 x 477.3 GMAC, unless given; reading, scoring and writing: measured 1 s, doubled",
        ),
        Line(
            "longest training",
            training_hours(c),
            "h",
            f"{c.slowest:g} x {c.epochs} x ({c.iterations} + {c.validation} / 3) x {step:.3g} s "
            f"+ ceil({c.cases} / {c.folds}) x {case:.3g} s + {requeued} x {c.requeue_minutes:g} min",
            "nnU-Net's schedule; residual network 595.1 / 477.3 GMAC; its own test part; "
            f"a requeue at every {c.queue_limit:g} h: SLURM's hold of 2 minutes, and a start",
        ),
        gpu_hours(c),
        Line(
            "preparing",
            (c.cases + c.unlabelled * c.self_training) * c.prepare_seconds / 3600,
            "core-hours",
            f"{c.cases + c.unlabelled * c.self_training} x {c.prepare_seconds:g} s",
            "measured: docs/performance.md; once for all trainings",
        ),
    ]


def store_gb(campaign: Campaign) -> Line:
    """Bytes of the prepared store: image float32, brain bool, and where there is a label, lesion uint8."""
    c = campaign
    unlabelled = c.unlabelled * c.self_training
    value = c.voxels * (c.cases * (4 * c.channels + 2) + unlabelled * (4 * c.channels + 1)) / _GB
    return Line(
        "prepared store",
        value,
        "GB",
        f"{c.voxels:,} x ({c.cases} x (4 x {c.channels} + 1 + 1) + {unlabelled} x (4 x {c.channels} + 1)) bytes",
        "the store's files: image float32, lesion uint8, brain bool; pseudo-labels count as predictions",
    )


def disk(campaign: Campaign) -> list[Line]:
    """What lies on the disk in the end, besides the data themselves."""
    c = campaign
    members = c.schemes * c.folds
    weights = c.parameters * 4 * 2
    predictions = c.cases * c.schemes + c.unlabelled * c.self_training * (c.schemes - 1)
    lines = [
        store_gb(c),
        Line(
            "checkpoints",
            members * c.checkpoints * weights / _GB,
            "GB",
            f"{members} x {c.checkpoints} files x {c.parameters:,} x 4 bytes x 2",
            "weights and SGD's momentum in float32 (AdamW: x 3 instead of x 2); last, previous and best; "
            "every network as large as the largest",
        ),
        Line(
            "predictions",
            predictions * c.voxels * 5 / _GB,
            "GB",
            f"({c.cases} x {c.schemes} + {c.unlabelled * c.self_training} x {c.schemes - 1}) x {c.voxels:,} x (4 + 1) "
            "bytes",
            "probability float32 and mask uint8 on the native grid, before gzip (measured: 0.4 of it)",
        ),
    ]
    total = sum(line.value for line in lines)
    return [*lines, Line("disk in all", total, "GB", " + ".join(f"{line.value:.1f}" for line in lines), "without data")]


def memory(campaign: Campaign) -> list[Line]:
    """What a node and a GPU need."""
    c = campaign
    each = c.process_gb + c.workers * c.worker_gb
    store = store_gb(c).value
    return [
        Line(
            "GPU memory",
            c.parameters * 12 / _GB + c.activation_gb,
            "GB",
            f"{c.parameters:,} x 4 bytes x 3 + {c.activation_gb:g} GB",
            "weights, gradients, momentum in float32; activations of 128^3 x 2 in half precision: peak of such a "
            "training on a CPU, 5.5 GiB",
        ),
        Line(
            "processes of a node",
            c.gpus_per_node * each,
            "GB",
            f"{c.gpus_per_node} x ({c.process_gb:g} + {c.workers} x {c.worker_gb:g}) GB",
            "assumed: 0.5 GB of imports (measured), CUDA's context and libraries, pinned batches",
        ),
        Line(
            "page cache of a node",
            store,
            "GB",
            f"{store:.1f} GB, the whole store, shared by all processes",
            "maps are read once from the disk if they stay; with less memory, again and again",
        ),
        Line(
            "memory of a node",
            c.gpus_per_node * each + store,
            "GB",
            f"{c.gpus_per_node * each:.1f} + {store:.1f}",
            "ask for this with mem_gb",
        ),
    ]


def _rate(given: float, tflop: float, campaign: Campaign, work: str) -> tuple[str, str]:
    if given:
        return f"{given:g} s", "given"
    return (
        f"{tflop:g} / ({campaign.tflops:g} x {campaign.efficiency:g})",
        f"{work}; peak of an A100 in half precision (data sheet); share of it: assumed, measure your own",
    )
