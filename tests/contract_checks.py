"""Samples and batches held against the contract: every key, its shape and its dtype."""

from collections.abc import Mapping
from typing import Any


def check_sample(sample: Mapping[str, Any]) -> None:
    """Hold a sample against the contract.

    Raises:
        ValueError: a key is missing, or a shape or dtype differs; the message names the key.
    """
    _check_tensors(sample, lead=0)


def check_batch(batch: Mapping[str, Any]) -> None:
    """Hold a batch against the contract.

    Raises:
        ValueError: a key is missing, or a shape or dtype differs; the message names the key.
    """
    _check_tensors(batch, lead=1)
    size = len(batch["image"])
    wrong = [key for key in ("lesion", "brain", "site", "case_id", "origin") if len(batch[key]) != size]
    if wrong:
        raise ValueError(f"batch of {size}: other lengths in {wrong}")


def _check_tensors(content: Mapping[str, Any], lead: int) -> None:
    kinds = {"image": "float32", "lesion": "uint8", "brain": "uint8", "site": "int64", "origin": "int64"}
    missing = [key for key in (*kinds, "case_id") if key not in content]
    if missing:
        raise ValueError(f"missing keys {missing}")
    for key, kind in kinds.items():
        if str(content[key].dtype) != f"torch.{kind}":
            raise ValueError(f"{key}: dtype {content[key].dtype}, expected torch.{kind}")
    space = tuple(content["image"].shape[lead + 1 :])
    if len(space) not in (2, 3):
        raise ValueError(f"image: shape {tuple(content['image'].shape)}, expected (C, *S) with two or three axes in S")
    for key in ("lesion", "brain"):
        if tuple(content[key].shape[lead:]) != (1, *space):
            raise ValueError(f"{key}: shape {tuple(content[key].shape)}, expected (1, {space})")
