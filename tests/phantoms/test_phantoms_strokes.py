import numpy as np
import pytest

from strokelab.lesions import count_lesions
from strokelab.phantoms.anatomy import ventricles
from strokelab.phantoms.contrasts import CONTRASTS, signal
from strokelab.phantoms.head import GREY
from strokelab.phantoms.lesion_law import Stroke
from strokelab.phantoms.strokes import describe, fresh_strokes, old_strokes, struck_head, union
from strokelab.seeding import stream

LEFT = Stroke(9_000.0, "left", "cortical")
RIGHT = Stroke(4_000.0, "right", "subcortical")


@pytest.mark.parametrize("volume", [10.0, 300.0, 4_170.0, 60_000.0, 280_000.0])
@pytest.mark.parametrize(("side", "place"), [("left", "cortical"), ("right", "cortical")])
def test_a_lesion_has_its_volume_its_side_and_one_piece(volume, side, place):
    head, (lesion,) = struck_head(2, f"p{volume}", 4.0, (Stroke(volume, side, place),), chronic=True)
    voxels = int(lesion.mask.sum())
    assert voxels == pytest.approx(max(1, volume / 64), abs=max(1.0, 0.01 * volume / 64))
    assert count_lesions(lesion.mask) == 1
    x = head.axes[0][np.nonzero(lesion.mask)[0]]
    assert (x < 0).all() if side == "left" else (x > 0).all()
    assert not (lesion.mask & ~head.brain).any()


def test_the_rim_is_soft_and_the_mask_is_its_half():
    _, (lesion,) = struck_head(2, "p", 4.0, (LEFT,), chronic=True)
    assert (lesion.core[lesion.mask] >= 0.499).all()
    assert (lesion.core[~lesion.mask] < 0.5).all()
    assert ((lesion.core > 0.1) & (lesion.core < 0.9)).sum() > 0.3 * lesion.mask.sum()


def test_two_lesions_do_not_touch_and_are_united_in_the_mask():
    head, lesions = struck_head(2, "p", 4.0, (LEFT, LEFT, RIGHT), chronic=True)
    mask = union(lesions, head.grid.shape)
    assert mask.sum() == sum(lesion.mask.sum() for lesion in lesions)
    assert describe((LEFT, LEFT, RIGHT), mask, 64.0) == {
        "lesion_voxels": int(mask.sum()),
        "lesion_mm3": float(mask.sum() * 64),
        "planned_mm3": 22_000.0,
        "lesions": 3,
        "components": 3,
        "side": "left",
        "places": "cortical cortical subcortical",
    }


def test_an_old_stroke_is_a_cavity_and_leaves_the_rest_alone():
    head, (lesion,) = struck_head(2, "p", 4.0, (LEFT,), chronic=True)
    tissue = old_strokes(head, [lesion], stream(2, "cavity"))
    deep = lesion.core > 0.9
    assert tissue[deep].mean() < 0.45 < 0.8 * GREY < head.tissue[deep].mean()
    far = lesion.core + lesion.rim < 1e-6
    np.testing.assert_array_equal(tissue[far], head.tissue[far])


SIGNS = {"T1": -1, "T1c": -1, "T2": 1, "FLAIR": 1, "DWI": 1, "ADC": -1, "CBF": -1, "CBV": -1, "TTP": 1, "Tmax": 1}


@pytest.mark.parametrize("modality", SIGNS)
def test_a_fresh_stroke_has_the_right_sign_in_every_modality(modality):
    head = fresh_strokes(4, "p", 4.0, (LEFT,), halo_times=3.0)
    image = signal(CONTRASTS[modality], head, modality)
    core = head.core > 0.6
    other_side = core[::-1] & head.anatomy.brain & (head.anatomy.tissue > 0.6)
    assert np.sign(image[core].mean() - image[other_side].mean()) == SIGNS[modality]


def test_the_penumbra_shows_in_perfusion_and_not_in_diffusion():
    head = fresh_strokes(4, "p", 4.0, (LEFT,), halo_times=4.0)
    penumbra = (head.halo > 0.7) & (head.core < 0.05)
    assert penumbra.sum() > (head.core > 0.5).sum()
    other_side = penumbra[::-1] & head.anatomy.brain
    for modality, changed in (("Tmax", True), ("TTP", True), ("CBF", True), ("DWI", False), ("ADC", False)):
        image = signal(CONTRASTS[modality], head, modality)
        ratio = image[penumbra].mean() / image[other_side].mean()
        assert (abs(ratio - 1) > 0.3) == changed, (modality, ratio)


def test_a_head_without_a_stroke_has_none():
    head = fresh_strokes(4, "p", 8.0, ())
    assert head.core.max() == head.halo.max() == 0


def test_a_cortical_lesion_takes_the_sulci_and_no_lesion_takes_the_ventricles():
    head, (cortical, deep) = struck_head(
        3, "p", 4.0, (Stroke(60_000.0, "left", "cortical"), Stroke(20_000.0, "right", "subcortical")), chronic=True
    )
    assert (head.tissue[cortical.mask] < 0.5).sum() > 5
    middle = ventricles(head)
    assert middle.sum() > 50
    assert not (middle & (cortical.mask | deep.mask)).any()
