"""SynthStroke's label sources (Chalcroft 2024; the numbers are the specification's, §2)."""

import numpy as np
import pytest

from strokelab.preparation.template import MNI, template_brain
from strokelab.synthesis.tissues import TissueMaps


def test_the_template_that_nilearn_ships_gives_four_tissues(tmp_path):
    maps = TissueMaps()
    (template,) = maps.anatomies("train", 0, store=tmp_path)
    assert maps.channels == template.channels == ("GM", "WM", "PV", "CSF")
    assert template.grid.matches(MNI)
    assert template.maps.shape == (4, 197, 233, 189)
    millilitres = template.maps.sum(axis=(1, 2, 3), dtype=np.float64) / 1000
    assert millilitres.tolist() == pytest.approx([753, 426, 488, 216], abs=1)
    np.testing.assert_array_equal(template.brain, template_brain(MNI))
    np.testing.assert_allclose(template.maps.sum(axis=0), template.brain, atol=1e-6)
