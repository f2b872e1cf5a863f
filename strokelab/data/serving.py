"""Which dataset serves a part of a cohort, and what is done to its batches on the device. Knows no Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from strokelab.contract import Batch
from strokelab.data.datasets import PatchDataset
from strokelab.data.random_patches import RandomPatches
from strokelab.errors import ConfigError
from strokelab.preparation.store import StoredCase
from strokelab.sampling.boxes import Part, PatchSampler
from strokelab.view import Augment, PlannedAugment, View

Samples = PatchDataset | RandomPatches
"""Datasets that answer lists of (epoch, index) with whole batches."""


def samples_of(
    cases: Sequence[StoredCase],
    part: Part,
    *,
    view: View,
    batch_size: int,
    sites: Mapping[str, int],
    seed: int,
    weight_of: Callable[[str], float] = lambda case_id: 1.0,
    deferred: bool = False,
) -> Samples:
    """The samples of these cases, as the view sees them; only training ones are augmented.

    Args:
        cases: of the part.
        part: training or validation.
        view: its sampler decides between every sample in turn and patches drawn at random.
        batch_size: samples per step, over all processes.
        sites: site name to index.
        seed: of the run.
        weight_of: case id -> how often it is drawn, relative to the others.
        deferred: leave augmentation to the device, where it can be left (``applied``).

    Raises:
        DataError: as the datasets.
        ConfigError: as the datasets; or weights with a view that takes every sample in turn.
    """
    training = part == "train"
    weights = [weight_of(case.case_id) for case in cases]
    sampler, augment = view.sampler, view.augment if training else None
    if isinstance(sampler, PatchSampler):
        return RandomPatches(
            cases,
            sampler=sampler,
            part=part,
            batch_size=batch_size,
            sites=sites,
            seed=seed,
            augment=augment,
            weights=weights,
            deferred=deferred and isinstance(augment, PlannedAugment),
        )
    if len(set(weights)) > 1:
        raise ConfigError(
            "data.pseudo.weight",
            found=f"weights {sorted(set(weights))} with {type(sampler).__name__}, which takes every sample in turn",
            expected="1, or a view that draws its cases",
            remedy="set data.pseudo.weight=1",
        )
    on_batches = cast("Augment | None", augment)  # the view raises where it cannot be called
    return PatchDataset(cases, sampler=sampler, sites=sites, seed=seed, augment=on_batches)


def applied(batch: Batch, view: View) -> Batch:
    """The batch with what augmentation deferred done where its tensors are; a batch that is whole as it is."""
    if "plans" not in batch:
        return batch
    assert isinstance(view.augment, PlannedAugment)
    rest = {name: value for name, value in batch.items() if name != "plans"}
    return view.augment.apply(rest, batch["plans"])
