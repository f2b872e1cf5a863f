"""Memory that glibc gives back at every release stays with the process once that is asked for; no number changes."""

import subprocess
import sys

import pytest

from strokelab import allocator as module
from strokelab.allocator import cannot_keep

# The module alone: its package would import Lightning first.
FAULTS = f"""
import hashlib, importlib.util, resource, sys
import torch
spec = importlib.util.spec_from_file_location("memory", {module.__file__!r})
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)
torch.set_num_threads(1)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        block = torch.empty(20 * 2**20)
        block.fill_(1.0)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def step():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Conv2d(2, 6, 3, padding=1), torch.nn.BatchNorm2d(6), torch.nn.ReLU())
    image = torch.randn(2, 2, 800, 1000)
    layer(image).square().mean().backward()
    return hashlib.sha256(b"".join(p.grad.numpy().tobytes() for p in layer.parameters())).hexdigest()

faults()
mapped, numbers = faults(), step()
memory.use("resident")
assert memory.is_kept()
faults()
kept, same = faults(), step()
memory.use("default")
assert not memory.is_kept()
again = faults()
print(mapped, kept, again, numbers == same)
"""


@pytest.mark.skipif(cannot_keep() is not None, reason=f"{cannot_keep()}")
def test_kept_memory_is_not_faulted_in_again_and_changes_no_number():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mapped, kept, again, same = done.stdout.split()
    assert int(mapped) > 1_000  # four times 80 MiB, in pages of whatever size
    assert int(kept) < int(mapped) / 100
    assert int(again) > 1_000
    assert same == "True"


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(module.os, "confstr", lambda name: None)
    assert "no glibc" in module.cannot_keep()
    assert not module.keep_resident()
    module.use("resident")
    module.use("default")
    assert not module.is_kept()
