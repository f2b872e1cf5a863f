"""The names of weights in MONAI's ``UNet``, whose blocks lie inside one another, and in ours, whose blocks are a list.

Knows names; knows no tensors.
"""

from __future__ import annotations

import re

_INSIDE = "1.submodule."
_LAYERS = (
    (r"conv\.unit0\.conv\.(weight|bias)", "encoder.{level}.unit.conv.{}"),
    (r"conv\.unit0\.adn\.A\.(weight)", "encoder.{level}.unit.rectifier.{}"),
    (r"residual\.(weight|bias)", "encoder.{level}.shortcut.{}"),
)
_UP = (
    (r"0\.conv\.(weight|bias)", "decoder.{level}.up.conv.{}"),
    (r"0\.adn\.A\.(weight)", "decoder.{level}.up.rectifier.{}"),
    (r"1\.conv\.unit0\.conv\.(weight|bias)", "decoder.{level}.unit.{conv}{}"),
    (r"1\.conv\.unit0\.adn\.A\.(weight)", "decoder.{level}.unit.rectifier.{}"),
)


def our_name(theirs: str, blocks: int) -> str | None:
    """The name in ``networks.synthstroke_unet.SynthStrokeUNet`` of a weight of MONAI's ``UNet``.

    Args:
        theirs: e.g. ``model.1.submodule.0.residual.weight``.
        blocks: of the encoder, the one at the bottom counted.

    Returns:
        None: no weight of such a network.
    """
    found = re.fullmatch(rf"model\.((?:{re.escape(_INSIDE)})*)(?:(0|2)\.)?(.+)", theirs)
    if found is None:
        return None
    level, side, layer = len(found[1]) // len(_INSIDE), found[2], found[3]
    bottom = blocks - 1
    if side != "2" and (side is None) != (level == bottom):
        return None
    if level > bottom or (side == "2" and level == bottom):
        return None
    number = level if side != "2" else bottom - 1 - level  # decoder blocks run from coarse to fine
    conv = "" if side == "2" and level == 0 else "conv."  # the head's second unit is its convolution alone
    for pattern, name in _UP if side == "2" else _LAYERS:
        if (match := re.fullmatch(pattern, layer)) is not None:
            return name.format(match[1], level=number, conv=conv)
    return None
