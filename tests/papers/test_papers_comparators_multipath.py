"""Multi-path 2.5D: nine paths, and the network of volumes over what they found (docs/methods/comparators.md)."""

import itertools

import yaml

from strokelab.configuration import build, compose, conf_folder, plain


def test_nine_paths_are_three_planes_by_three_z_scores_on_one_volume():
    """Section 3.10; the combiner knows its channels by the names of the paths."""
    sweep = yaml.safe_load((conf_folder() / "sweep/multipath25d.yaml").read_text())["hydra"]["sweeper"]["params"]
    planes, rules = (sweep[key].split(",") for key in ("plane", "view.preparation.normalize"))
    names = []
    for plane, rule in itertools.product(planes, rules):
        given = ["model=multipath25d", "protocol=authors", f"plane={plane}", f"view.preparation.normalize={rule}"]
        path = plain(compose("train", [*given, "sweep=multipath25d", "run_dir=x"]))
        preparation = build(path["view"]).preparation
        assert dict(zip(preparation.orientation, preparation.crop, strict=True)) == {"R": 192, "A": 224, "S": 192}
        assert path["model"]["network"]["mirrored"] == (plane != "sagittal")
        names.append(path["name"])
    combiner = plain(compose("train", ["model=multipath25d_combiner", "data=folder", "data.root=x", "run_dir=x"]))
    assert combiner["data"]["modalities"] == ["T1w", *names]
    preparation = build(combiner["view"]).preparation
    assert len(preparation.channels) == 27
    assert {preparation.normalization_of(name) for name in preparation.channels[1:]} == {"none"}
