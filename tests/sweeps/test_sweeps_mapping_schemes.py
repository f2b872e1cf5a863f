"""sweep=mapping_schemes asks for every fold of every scheme, with folders that tell them apart."""

from sweep_planning import Planning

from strokelab.self_training.settings import SWEEP
from strokelab.self_training.teachers import SCHEMES


def test_the_schemes_are_the_members_of_a_sweep(tmp_path):
    task = [f"sweep={SWEEP}", "experiment=mapping_small"]
    planning = Planning(tmp_path, *task)
    params = planning.config.hydra.sweeper.params
    assert tuple(params["model"].split(",")) == SCHEMES
    assert params["split.fold"] == "range(0,5)"
    jobs = [";".join([*task, f"model={scheme}", f"split.fold={fold}"]) for fold, scheme in enumerate(SCHEMES)]
    members = planning.plan(*jobs)
    assert [one.folder.name for one in members] == [f"{scheme}-fold{k}-seed0" for k, scheme in enumerate(SCHEMES)]
