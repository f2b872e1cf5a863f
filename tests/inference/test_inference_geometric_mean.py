"""The mean of logits, out of probabilities: against the mean of logits itself."""

import numpy as np
import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.inference.centre_window import CentreWindow
from strokelab.inference.geometric_mean import GeometricMean
from strokelab.inference.predict import case_scores
from strokelab.inference.windows import PatchWindows


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_it_is_the_softmax_of_the_mean_logits(scale):
    """Also where probabilities are 1 to all digits; logits further apart than 87 are not (see there)."""
    weight = scale * torch.randn(3, 1, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    image = np.random.default_rng(0).normal(size=(1, 12, 11, 9)).astype(np.float32)
    brain = np.ones(image.shape[1:], bool)
    windows = PatchWindows((8, 8, 8), mirror="xz")

    def logits(samples, inside):
        return torch.nn.functional.conv3d(samples, weight, padding=1)

    mean = GeometricMean(windows)(image, lambda samples, inside: logits(samples, inside).softmax(1), brain)
    exact = windows(image, logits, brain).softmax(0)
    assert torch.allclose(mean, exact, atol=1e-5)
    assert torch.equal(mean.argmax(0), exact.argmax(0))
    plain = windows(image, lambda samples, inside: logits(samples, inside).softmax(1), brain)
    assert not torch.allclose(plain, exact, atol=1e-2), "the two means differ"


def test_prediction_hands_it_every_class():
    class Prepared:
        image = np.zeros((1, 8, 8, 8), np.float32)
        brain = np.ones((8, 8, 8), bool)

    def predict(samples, inside):
        return torch.tensor([0.2, 0.7, 0.1]).reshape(1, 3, 1, 1, 1).expand(len(samples), 3, *samples.shape[2:])

    windows = GeometricMean(PatchWindows((8, 8, 8), mirror="none"))
    assert windows.sample_shape(None) == (8, 8, 8)
    probability = case_scores(Prepared(), predict=predict, windows=windows, lesion_channel=1).lesion
    assert probability == pytest.approx(np.full((8, 8, 8), 0.7), abs=1e-6)


def test_windows_that_leave_voxels_out_are_refused():
    with pytest.raises(ConfigError, match="skip_outside_brain"):
        GeometricMean(PatchWindows((8, 8, 8), skip_outside_brain=True))
    with pytest.raises(ConfigError, match="CentreWindow"):
        GeometricMean(CentreWindow((8, 8, 8)))


def test_a_plan_that_averages_logits_itself_gives_the_same_and_is_not_wrapped():
    image = torch.randn(1, 10, 8, 9, generator=torch.Generator().manual_seed(0))

    def predict(x, brain):
        return torch.cat([x, -x, x.square()], dim=1).softmax(dim=1)

    plain = GeometricMean(PatchWindows((8, 8, 8)), scores="logits")(image, predict, image[0] == 0)
    own = PatchWindows((8, 8, 8), scores="logits")
    assert torch.equal(own(image, predict, image[0] == 0), plain)
    with pytest.raises(ConfigError, match=r"view\.windows\.windows\.scores"):
        GeometricMean(own)
