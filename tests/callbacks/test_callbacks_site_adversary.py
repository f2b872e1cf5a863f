"""The schedule of the reversal, and the site's numbers beside what needs no telling."""

from __future__ import annotations

import io

import lightning as L
import pytest
import torch

from strokelab.callbacks.site_adversary import SiteAdversarySchedule, reversal_strength, site_scores
from strokelab.errors import ConfigError


@pytest.mark.parametrize(
    ("progress", "expected"), [(0, 0), (0.1, 0.46212), (0.25, 0.84828), (0.5, 0.98661), (0.75, 0.99889), (1, 0.99991)]
)
def test_the_ramp(progress, expected):
    assert reversal_strength(progress, schedule="dann") == pytest.approx(expected, abs=1e-5)
    assert reversal_strength(progress, schedule="dann", strength=0.5) == pytest.approx(expected / 2, abs=1e-5)
    assert reversal_strength(progress, strength=0.3) == 0.3


def test_scores_by_hand():
    confusion = torch.tensor([[6, 2, 0], [1, 1, 0], [0, 0, 0]])
    scores = {name: value.item() for name, value in site_scores(confusion).items()}
    assert scores == pytest.approx(
        {"accuracy": 7 / 10, "balanced_accuracy": (6 / 8 + 1 / 2) / 2, "chance": 1 / 3, "majority": 8 / 10}
    )


def test_always_naming_the_largest_site_reaches_the_reference_lines():
    # Training scans of ATLAS v1.2 with Site 5 held out.
    sizes = torch.tensor([55, 34, 27, 12, 14, 11, 35, 14])
    confusion = torch.zeros(8, 8, dtype=torch.int64)
    confusion[:, 0] = sizes
    scores = site_scores(confusion)
    assert scores["accuracy"].item() == pytest.approx(0.272, abs=5e-4)
    assert scores["majority"] == scores["accuracy"]
    assert scores["balanced_accuracy"].item() == pytest.approx(1 / 8)


class Sites(L.LightningModule):
    """Stands in for a model: an adversary with a strength, outputs with counts; no model is imported."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.adversary = type("Adversary", (), {"strength": -7.0})()
        self.strengths: list[float] = []

    def training_step(self, batch, batch_idx):
        self.strengths.append(self.adversary.strength)
        confusion = torch.zeros(2, 2, dtype=torch.int64)
        for truth, guess in batch:
            confusion[truth, guess] += 1
        return {
            "loss": self.weight.sum(),
            "site_loss": torch.tensor(float(len(batch))),
            "site_confusion": confusion,
        }

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


BATCHES = [[(0, 0), (0, 1)], [(0, 0), (0, 0), (1, 1)], []]


def fit(callback, model, epochs=2, **kwargs) -> L.Trainer:
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **kwargs,
    )
    trainer.fit(model, torch.utils.data.DataLoader(BATCHES, batch_size=None))
    return trainer


def test_logged_numbers_are_those_of_the_epoch():
    logged = fit(SiteAdversarySchedule(), Sites()).callback_metrics
    found = {name: value.item() for name, value in logged.items() if name.startswith("site/")}
    assert found == pytest.approx(
        {
            "site/loss": (2 * 2 + 3 * 3) / 5,
            "site/accuracy": 4 / 5,
            "site/balanced_accuracy": (3 / 4 + 1) / 2,
            "site/strength": 1.0,
            "site/chance": 0.5,
            "site/majority": 4 / 5,
        }
    )


def test_every_epoch_counts_afresh():
    class Learner(Sites):
        def training_step(self, batch, batch_idx):
            return super().training_step([(0, 0), (1, self.current_epoch)], batch_idx)

    assert fit(SiteAdversarySchedule(), Learner(), epochs=1).callback_metrics["site/accuracy"] == 0.5
    assert fit(SiteAdversarySchedule(), Learner(), epochs=2).callback_metrics["site/accuracy"] == 1


def test_strength_is_a_function_of_the_step():
    model = Sites()
    fit(SiteAdversarySchedule("dann", strength=2.0), model)
    assert model.strengths == pytest.approx([reversal_strength(k / 6, schedule="dann", strength=2.0) for k in range(6)])
    model = Sites()
    fit(SiteAdversarySchedule(strength=0.5, warmup_epochs=1), model)
    assert model.strengths == [0, 0, 0, 0.5, 0.5, 0.5]


def test_counts_survive_an_interruption():
    callback = SiteAdversarySchedule()
    fit(callback, Sites(), epochs=1, limit_train_batches=1)
    file = io.BytesIO()
    torch.save(callback.state_dict(), file)
    file.seek(0)
    restored = SiteAdversarySchedule()
    restored.load_state_dict(torch.load(file, weights_only=True))
    (counts,) = restored.state_dict()["ranks"]  # one for every process
    assert torch.equal(counts["confusion"], torch.tensor([[1, 1], [0, 0]]))
    assert counts["loss_sum"] == 4
    earlier = SiteAdversarySchedule()
    earlier.load_state_dict(counts)  # as earlier versions kept it, of one process
    assert earlier.state_dict() == {"ranks": [counts]}


def test_a_model_without_adversary_and_a_cohort_without_sites_are_left_alone():
    class Bare(Sites):
        def __init__(self) -> None:
            super().__init__()
            self.adversary = None

        def training_step(self, batch, batch_idx):
            return self.weight.sum()

    assert not fit(SiteAdversarySchedule("dann"), Bare()).callback_metrics

    class Unknown(Sites):
        def training_step(self, batch, batch_idx):
            return super().training_step([], batch_idx)

    assert not [name for name in fit(SiteAdversarySchedule(), Unknown()).callback_metrics if name.startswith("site/")]


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="'constant' or 'dann'"):
        SiteAdversarySchedule("linear")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="minus sign is built in"):
        SiteAdversarySchedule(strength=-1)
    with pytest.raises(ConfigError, match="without end"):
        fit(SiteAdversarySchedule("dann"), Sites(), epochs=-1)
