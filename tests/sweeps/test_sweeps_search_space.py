"""What a search may choose, in Hydra's words."""

import pytest

from strokelab.errors import ConfigError
from strokelab.sweeps.search.space import Dimension, space_of


class Recorder:
    """A trial that takes the lowest, or the last, of everything and remembers what it was asked."""

    def suggest_float(self, name, low, high, *, step=None, log=False):
        self.asked = ("float", low, high, step, log)
        return low

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.asked = ("int", low, high, step, log)
        return high

    def suggest_categorical(self, name, choices):
        self.asked = ("choice", *choices)
        return choices[-1]


@pytest.mark.parametrize(
    ("values", "asked", "override"),
    [
        ("interval(0.1,0.9)", ("float", 0.1, 0.9, None, False), "a.b=0.1"),
        ("tag(log, interval(0.000123456789,0.1))", ("float", 0.000123456789, 0.1, None, True), "a.b=0.000123457"),
        ("int(interval(2,64))", ("int", 2, 64, 1, False), "a.b=64"),
        ("tag(log,int(interval(2,64)))", ("int", 2, 64, 1, True), "a.b=64"),
        ("range(3,10,3)", ("int", 3, 9, 3, False), "a.b=9"),  # as everywhere in Hydra, without its end
        ("range(0.5,2,0.5)", ("float", 0.5, 1.5, 0.5, False), "a.b=0.5"),
        ("8,16,null", ("choice", "8", "16", "null"), "a.b=null"),
        ("one,two", ("choice", "one", "two"), "a.b=two"),
        ("'x y','p'", ("choice", "'x y'", "'p'"), "a.b='p'"),
        ("shuffle(range(1,2))", ("choice", "1"), "a.b=1"),
    ],
)
def test_values_become_questions_and_answers_become_overrides(values, asked, override):
    (dimension,) = space_of({"a.b": values}, []).dimensions
    trial = Recorder()
    assert dimension.suggest(trial) == override
    assert trial.asked == asked


def test_the_command_line_replaces_what_the_yaml_says():
    params = {"lr": "interval(0.1,0.2)", "decay": "interval(0.1,0.2)"}
    space = space_of(params, ["model=unet2d", "lr=0.3", "decay=interval(0.5,0.6)", "+new=1", "~old"])
    assert space.fixed == ("model=unet2d", "lr=0.3", "+new=1", "~old")
    assert space.dimensions == (Dimension("decay", low=0.5, high=0.6),)


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        ({"lr": "interval(0.2,0.1)"}, [], "from a smaller to a larger"),
        ({"lr": "tag(log,interval(0,0.1))"}, [], "logarithm"),
        ({"lr": "interval(0.1"}, [], "interval"),
        ({"n": "range(3,3)"}, [], "range"),
        ({"lr": "interval(0.1,0.2)"}, ["lr=0.1"], "nothing to choose"),
    ],
)
def test_what_is_no_space_is_refused(params, arguments, message):
    with pytest.raises(ConfigError, match=message):
        space_of(params, arguments)
