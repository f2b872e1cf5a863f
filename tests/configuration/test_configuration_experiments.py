"""A setting that an experiment brings to a part which does not know it: named as the experiment's, with a way on."""

import pytest

from strokelab.configuration import check_arguments, compose, plain
from strokelab.errors import ConfigError


def refused(*words):
    with pytest.raises(ConfigError) as error:
        check_arguments({"data": plain(compose("train", list(words)))["data"]})
    return error.value


@pytest.mark.parametrize("experiment", ["sgnet_small", "mapping_small", "first_steps"])
@pytest.mark.parametrize("dataset", ["atlas_v1", "isles2022"])
def test_the_remedy_takes_the_experiment_s_settings_out_again(experiment, dataset):
    words = [f"experiment={experiment}", f"data={dataset}", "data.root=/data"]
    error = refused(*words)
    assert str(error.where).startswith("data.")
    assert f"experiment={experiment}" in error.found
    assert f"data={dataset}" in error.found
    assert "remove it" not in error.remedy
    added = [word for word in error.remedy.split() if word.startswith("~")]
    check_arguments({"data": plain(compose("train", [*words, *added]))["data"]})


def test_what_the_user_typed_is_the_user_s():
    error = refused("experiment=sgnet_small", "data=atlas_v1", "data.root=/data", "++data.spacing=4")
    assert "experiment" not in error.found
    assert refused("data=atlas_v1", "+data.spacing=4").remedy == "remove it"
