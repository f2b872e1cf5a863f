"""Hours of schemes x folds trainings on a number of GPUs. Pure arithmetic: knows no file and no cluster.

What one training, one case and one node take is in ``campaign.lines``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from strokelab.errors import ConfigError

_MAY_BE_ZERO = (
    *("unlabelled", "self_training", "validation", "seconds_per_step", "seconds_per_case", "host_seconds", "workers"),
    *("requeue_minutes", "worker_gb", "prepare_seconds"),
)


@dataclass(frozen=True)
class Campaign:
    """What is to be done, and what one piece of it costs. The defaults are MAPPING's (Huo 2022) on ATLAS v2.0.

    Args:
        cases: labelled cases; each is tested once per scheme. ATLAS v2.0 has 655.
        unlabelled: cases that get pseudo-labels; only with self-training.
        schemes: ways to train; with self-training one of them waits for the others.
        folds: of the cross-validation.
        self_training: whether the last scheme learns from pseudo-labels of the others.
        epochs: of a training; nnU-Net: 1000.
        iterations: steps per epoch; nnU-Net: 250.
        validation: validation steps per epoch; nnU-Net: 50.
        batch: samples of a step; a training can use no more GPUs than that.
        seconds_per_step: on one GPU; 0: reckoned from ``step_tflop``.
        step_tflop: arithmetic of a step, 10^12 operations.
        tflops: peak rate of a GPU in half precision, 10^12 operations per second; A100: 312.
        efficiency: share of it that is reached.
        slowest: work of the slowest scheme relative to the others.
        ddp_efficiency: speed per GPU of several at one training, relative to one alone.
        seconds_per_case: to predict a case; 0: reckoned from ``case_tflop``.
        case_tflop: arithmetic of a case with all its windows and flips.
        host_seconds: to read, score and write a case.
        voxels: of a case.
        channels: images of a case.
        parameters: of the largest network.
        checkpoints: files kept per training.
        activation_gb: GPU memory of a step besides the weights, for the whole batch.
        process_gb: memory of the host that a process takes.
        workers: loader processes per training process.
        worker_gb: memory of a loader process.
        gpus_per_node: of the cluster.
        queue_limit: hours a job may take; a training that needs more is requeued.
        requeue_minutes: what every requeue costs.
        prepare_seconds: to prepare a case on one core.

    Raises:
        ConfigError: a number is not positive, or there is no scheme for self-training to learn from.
    """

    cases: int = 655
    unlabelled: int = 300
    schemes: int = 4
    folds: int = 5
    self_training: bool = True
    epochs: int = 1000
    iterations: int = 250
    validation: int = 50
    batch: int = 2
    seconds_per_step: float = 0.0
    step_tflop: float = 5.73
    tflops: float = 312.0
    efficiency: float = 0.25
    slowest: float = 1.25
    ddp_efficiency: float = 0.9
    seconds_per_case: float = 0.0
    case_tflop: float = 137.5
    host_seconds: float = 2.0
    voxels: int = 197 * 233 * 189
    channels: int = 1
    parameters: int = 72_137_888
    checkpoints: int = 3
    activation_gb: float = 6.0
    process_gb: float = 4.0
    workers: int = 4
    worker_gb: float = 0.5
    gpus_per_node: int = 8
    queue_limit: float = 24.0
    requeue_minutes: float = 3.0
    prepare_seconds: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or value < 0 or (value == 0 and field.name not in _MAY_BE_ZERO):
                raise refusal(field.name, value, "0 or more" if field.name in _MAY_BE_ZERO else "more than 0")
        if self.ddp_efficiency > 1 or self.efficiency > 1:
            raise refusal("ddp_efficiency, efficiency", (self.ddp_efficiency, self.efficiency), "shares, at most 1")
        if self.slowest < 1:
            raise refusal("slowest", self.slowest, "1 or more: relative to the other schemes")
        if self.self_training and self.schemes < 2:
            raise refusal("schemes", self.schemes, "2 or more: self-training learns from another scheme")


@dataclass(frozen=True)
class Stage:
    """Trainings that may run side by side, on a number of GPUs.

    Args:
        name: of the stage.
        members: trainings, or 0 where the stage only predicts.
        gpus_each: GPUs of a training.
        waves: how often all of them are filled.
        hours: until the last is done.
        formula: of the hours.
    """

    name: str
    members: int
    gpus_each: int
    waves: int
    hours: float
    formula: str


@dataclass(frozen=True)
class Forecast:
    """A campaign on a number of GPUs.

    Args:
        gpus: all of them.
        stages: one after the other.
        nodes: that hold so many GPUs.
    """

    gpus: int
    stages: tuple[Stage, ...]
    nodes: int

    @property
    def hours(self) -> float:
        """From the first job to the last, if the cluster gives all GPUs at once."""
        return sum(stage.hours for stage in self.stages)

    @property
    def most_busy(self) -> int:
        """GPUs that a training stage can use at most."""
        return max(min(self.gpus, stage.members * stage.gpus_each) for stage in self.stages if stage.members)


def step_seconds(campaign: Campaign) -> float:
    """Seconds of a training step on one GPU."""
    return campaign.seconds_per_step or campaign.step_tflop / (campaign.tflops * campaign.efficiency)


def case_seconds(campaign: Campaign) -> float:
    """Seconds to predict, score and write a case on one GPU."""
    predicting = campaign.seconds_per_case or campaign.case_tflop / (campaign.tflops * campaign.efficiency)
    return predicting + campaign.host_seconds


def training_hours(campaign: Campaign, gpus: int = 1, *, work: float | None = None) -> float:
    """Hours of one training with its test part and its requeues.

    Args:
        campaign: what is to be done.
        gpus: at this training; the batch is split among them.
        work: of its scheme, relative to a plain one; None: the slowest's.
    """
    speed = gpus * (campaign.ddp_efficiency if gpus > 1 else 1.0)
    steps = campaign.epochs * (campaign.iterations + campaign.validation / 3)  # no backward pass
    training = (campaign.slowest if work is None else work) * steps * step_seconds(campaign) / speed
    testing = math.ceil(campaign.cases / campaign.folds) * case_seconds(campaign) / gpus
    hours = (training + testing) / 3600
    return hours + requeues(campaign, hours) * campaign.requeue_minutes / 60


def requeues(campaign: Campaign, hours: float) -> int:
    """How often a job of so many hours meets the time limit."""
    return math.ceil(hours / campaign.queue_limit) - 1


def teachers(campaign: Campaign) -> int:
    """Trainings that wait for no other."""
    return (campaign.schemes - campaign.self_training) * campaign.folds


def forecast(campaign: Campaign, gpus: int) -> Forecast:
    """Stages and hours on a number of GPUs; each training gets as many as make its stage shortest.

    Raises:
        ConfigError: no GPU.
    """
    if gpus < 1:
        raise refusal("gpus", gpus, "1 or more")
    stages = [_trainings("training", teachers(campaign), campaign, gpus)]
    if campaign.self_training:
        predictions = teachers(campaign) * campaign.unlabelled
        rounds = math.ceil(predictions / gpus)
        formula = f"ceil({teachers(campaign)} x {campaign.unlabelled} / {gpus}) x {case_seconds(campaign):.3g} s"
        hours = rounds * case_seconds(campaign) / 3600
        stages.append(Stage("pseudo-labels", 0, 1, rounds, hours, formula))
        stages.append(_trainings("self-training", campaign.folds, campaign, gpus))
    return Forecast(gpus, tuple(stages), math.ceil(gpus / campaign.gpus_per_node))


def _trainings(name: str, members: int, campaign: Campaign, gpus: int) -> Stage:
    def stage(each: int) -> Stage:
        hours = training_hours(campaign, each)
        waves = math.ceil(members / (gpus // each))
        formula = f"ceil({members} / {gpus // each}) x {hours:.3g} h" + (f", {each} GPUs each" if each > 1 else "")
        return Stage(name, members, each, waves, waves * hours, formula)

    return min((stage(each) for each in range(1, min(campaign.batch, gpus) + 1)), key=lambda found: found.hours)


def refusal(name: str, found: object, expected: str) -> ConfigError:
    """The error of an option with an impossible number."""
    return ConfigError(
        f"--{name.replace('_', '-')}", found=str(found), expected=expected, remedy="see strokelab plan --help"
    )
