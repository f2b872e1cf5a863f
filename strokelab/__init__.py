"""strokelab: train, compare and apply stroke-lesion segmentation models on MRI."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

__version__ = "0.1.0"
__all__ = ["__version__", "build_model"]

if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) < 20:
    del os.environ["COLUMNS"]  # rich would print nothing into a terminal of no width


def build_model(name: str, **overrides: Any) -> Segmenter:
    """The LightningModule of ``conf/model/<name>.yaml`` with fresh weights; ``.network`` is the plain ``nn.Module``.

    Args:
        name: a file of ``conf/model`` without its suffix, e.g. ``"sgnet"``.
        **overrides: facts the data would bind (``in_channels``, ``n_sites``, ``plane``) or dotted settings
            of the model with ``__`` for the dot, e.g. ``network__base=8``.

    Raises:
        ConfigError: the model does not exist (its message lists those that do) or a setting is unknown.
    """
    from strokelab.configuration import build_model as build  # torch only when a model is asked for

    return build(name, **overrides)
