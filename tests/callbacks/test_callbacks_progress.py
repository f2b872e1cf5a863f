"""The bar of a real training: epochs are counted as people count them."""

import io

import lightning as L
import torch
from torch.utils.data import DataLoader

from strokelab.callbacks.progress import Progress


class Line(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        return (self.weight * batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_the_last_of_three_epochs_is_the_third():
    screen = io.StringIO()
    bar = Progress(console_kwargs={"file": screen, "force_terminal": True, "width": 120})
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    L.Trainer(max_epochs=3, callbacks=[bar], **quiet).fit(Line(), DataLoader(torch.ones(4)))
    shown = screen.getvalue()
    assert [f"Epoch {number}/3" in shown for number in range(5)] == [False, True, True, True, False]
