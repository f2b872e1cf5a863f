"""Our plans beside nnU-Net's own for the same geometries: ``python -m benchmarks.nnunet_plans [--count 300]``.

Needs ``STROKELAB_NNUNET_PYTHON`` (``benchmarks.peer``). Known cohorts come first, then random ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer import in_peer, peer_versions
from strokelab.planning import Fingerprint, Plan, Planner
from strokelab.preparation.recipe import Preparation

KNOWN = {
    # name: median box (voxels), spacing (mm), cases, share of the volume, channels
    "ATLAS v2.0": ((189, 230, 189), (1.0, 1.0, 1.0), 655, 0.98, 1),
    "ISLES 2015 SISS": ((140, 175, 150), (1.0, 1.0, 1.0), 28, 0.45, 4),
    "ISLES 2015 SPES": ((72, 90, 70), (2.0, 2.0, 2.0), 30, 0.6, 7),
    "ISLES 2022, 2 mm": ((75, 90, 70), (2.0, 2.0, 2.0), 250, 0.6, 3),
    "ISLES 2022, coarse": ((160, 190, 22), (0.88, 0.88, 6.5), 250, 0.5, 3),
    "a cube": ((200, 200, 200), (1.0, 1.0, 1.0), 100, 1.0, 1),
}


def main() -> None:
    """Plan everything twice and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="random geometries (default 300)")
    count = parser.parse_args().count
    jobs = [
        {"name": f"{name}, {network}", "network": network, **_equal(*facts)}
        for name, facts in KNOWN.items()
        for network in ("plain", "residual")
    ]
    jobs += [_random(seed) for seed in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "geometries.json"
        file.write_text(json.dumps(jobs))
        # Asked for when nnU-Net is imported; nothing is read or written there.
        places = dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), folder)
        plans = in_peer("benchmarks.peer_plans", file, environment={**places, "nnUNet_n_proc_DA": "1"})["plans"]
    alike = 0
    for job, theirs in zip(jobs, plans, strict=True):
        differs = _differences(_ours(job), theirs)
        alike += not differs
        if differs or job["name"].partition(",")[0] in {name.partition(",")[0] for name in KNOWN}:
            print(f"{job['name']}: {'; '.join(differs) or 'the same'}")
    print(f"{alike} of {len(jobs)} plans are the same; {peer_versions()}")


def _equal(box: tuple[int, ...], spacing: tuple[float, ...], cases: int, share: float, channels: int) -> dict[str, Any]:
    return {"shapes": [box] * cases, "spacings": [spacing] * cases, "share": share, "channels": channels}


def _random(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    cases = int(rng.integers(5, 300))
    anisotropic, varied = seed % 2 == 1, seed % 3 > 0
    mm = rng.choice([0.5, 0.8, 1, 1.2, 2, 3, 5, 6.5], 3) if anisotropic else np.repeat(rng.choice([0.6, 1, 1.5, 2]), 3)
    spacings = np.round(mm * (rng.uniform(0.9, 1.1, (cases, 3)) if varied else np.ones((cases, 3))), 3)
    lengths = rng.uniform(90, 260, 3) * rng.uniform(0.9, 1.1, (cases, 3))
    shapes = np.maximum(8, np.round(lengths / spacings)).astype(int)
    share = float(rng.choice([0.4, 0.6, 0.9, 1.0]))
    return {
        **{"name": f"random {seed}", "network": "plain", "spacings": spacings.tolist(), "shapes": shapes.tolist()},
        **{"share": share, "channels": int(rng.integers(1, 5))},
    }


def _ours(job: dict[str, Any]) -> Plan:
    boxes = np.array(job["shapes"], dtype=np.int64)
    shapes = boxes.copy()
    shapes[:, 0] = np.round(boxes[:, 0] / job["share"])
    seen = Fingerprint(np.array(job["spacings"], dtype=np.float64), shapes, boxes)
    return Planner().plan(seen, Preparation(("any",), box="nonzero"))


def _differences(ours: Plan, theirs: dict[str, Any]) -> list[str]:
    found = []
    for name, value in json.loads(json.dumps(ours.facts())).items():
        same = np.allclose(value, theirs[name], atol=1e-4) if name == "spacing" else value == theirs[name]
        if not same:
            found.append(f"{name} {value}, nnU-Net {theirs[name]}")
    return found


if __name__ == "__main__":
    main()
