"""Memory that a step cannot have is said with what takes less of it, on a CPU as on a GPU."""

import pytest
import torch

from strokelab.callbacks.stage import Stage
from strokelab.errors import ConfigError
from strokelab.resources import out_of_memory
from strokelab.training.fitting import within_memory

WHOLE = Stage("", 0)


def of_the_cpu():
    torch.empty(2**60, dtype=torch.uint8)  # more than any machine has


def of_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nmore")


def of_numpy():
    raise MemoryError


@pytest.mark.parametrize(
    ("asking", "words"), [(of_the_cpu, "can't allocate memory"), (of_a_gpu, "20.00 MiB."), (of_numpy, "MemoryError")]
)
def test_memory_that_is_not_there_is_said_with_a_smaller_batch(asking, words):
    with pytest.raises(ConfigError) as caught, within_memory({"data": {"batch_size": 100}}, WHOLE):
        asking()
    assert words in caught.value.found
    assert "100 samples" in caught.value.found
    assert "more" not in caught.value.found
    assert "data.batch_size=50," in caught.value.remedy
    assert isinstance(caught.value.__cause__, (RuntimeError, MemoryError))


def test_a_batch_of_one_cannot_be_smaller_and_a_stage_has_its_own():
    with pytest.raises(ConfigError) as caught, within_memory({"data": {"batch_size": 1}}, WHOLE):
        of_a_gpu()
    assert "batch_size" not in caught.value.remedy
    stage = Stage("zoom_in", 0)
    with pytest.raises(ConfigError) as caught, within_memory({"data": {"batch_size": 2}}, stage):
        of_a_gpu()
    assert "++stages.zoom_in.data.batch_size=1," in caught.value.remedy


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="sizes"), within_memory({"data": {"batch_size": 2}}, WHOLE):
        raise RuntimeError("sizes")
    assert not out_of_memory(RuntimeError("sizes"))
