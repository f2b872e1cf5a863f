"""Chalcroft 2024 (SynthStroke), section 15: mixing of real and synthetic samples, number by number."""

import pytest
import torch
from synthetic_cohorts import CLASSES, cohort, volumes

from strokelab.data.synthetic import LesionCohort, SyntheticSource
from strokelab.errors import DataError
from strokelab.losses.compound import DiceCELoss
from strokelab.sampling.alternate import Alternate


def steps(t1_cohort, count, *, rank=0, ranks=1, epoch=0, **settings):
    """Batches of one process."""
    data = cohort(t1_cohort, volumes(classes=CLASSES), batch_size=2, **settings)
    loader = data.train_dataloader()
    batches = loader.batch_sampler
    batches.rank, batches.world_size = rank, ranks
    batches.set_epoch(epoch)
    return [loader.dataset.__getitems__(keys) for keys, _ in zip(batches, range(count), strict=False)]


def is_made(batch):
    return set(batch["case_id"]) == {"synthetic"}


def test_8_batches_alternate_synthetic_real(t1_cohort):
    found = steps(t1_cohort, 4)
    assert [is_made(batch) for batch in found] == [True, False] * 2
    assert all("labelled_classes" not in batch for batch in found[::2])
    assert all(batch["labelled_classes"].tolist() == [[True, *[False] * 4, True]] * 2 for batch in found[1::2])


@pytest.mark.parametrize(
    ("ratio", "kinds"), [((0, 1), [True] * 4), ((1, 0), [False] * 4), ((2, 1), [True, False, False, True])]
)
def test_12_ratios_of_real_to_synthetic(t1_cohort, ratio, kinds):
    found = steps(t1_cohort, 4, mixing=Alternate(ratio, steps=4, first="synthetic"))
    assert [is_made(batch) for batch in found] == kinds


def test_8_a_real_batch_says_nothing_about_tissues(t1_cohort):
    real = steps(t1_cohort, 2)[1]
    loss, generator = DiceCELoss(), torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 16, 16, 16, generator=generator, requires_grad=True)
    found = loss(logits, real["target"], real["labelled_classes"])
    found.backward()
    other = logits.detach().clone()
    other[:, 1:5] += 10 * torch.randn(2, 4, 16, 16, 16, generator=generator)
    assert torch.equal(loss(other, real["target"], real["labelled_classes"]), found)
    assert logits.grad is not None
    assert not logits.grad[:, 1:5].any()
    assert logits.grad[:, [0, 5]].any()


def test_16_all_processes_are_at_the_same_kind(t1_cohort):
    whole, *ranks = (steps(t1_cohort, 4, rank=rank, ranks=ranks, epoch=1) for rank, ranks in ((0, 1), (0, 2), (1, 2)))
    for batch, first, second in zip(whole, *ranks, strict=True):
        assert is_made(batch) == is_made(first) == is_made(second)
        assert torch.equal(torch.cat([first["image"], second["image"]]), batch["image"])


def test_11_same_seed_same_sample(t1_cohort):
    for one, other in zip(steps(t1_cohort, 3), steps(t1_cohort, 3), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("image", "lesion", "target"))
    assert not torch.equal(steps(t1_cohort, 1, seed=1)[0]["image"], steps(t1_cohort, 1)[0]["image"])


def test_12_lesions_that_are_held_out_stop_the_training(t1_cohort):
    held = SyntheticSource(lesions=LesionCohort("atlas_v1", str(t1_cohort)))
    data = cohort(t1_cohort, volumes(), source=held)
    with pytest.raises(DataError) as caught:
        data.setup()
    tested = {*data.split_result.val, *data.split_result.test}
    assert any(case_id in str(caught.value) for case_id in tested)
