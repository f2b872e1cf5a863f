"""What ``trainer.precision`` and ``allocator`` mean, how a machine is asked, and what may not be asked of it."""

import pytest
import torch

from strokelab import allocator as memory
from strokelab.errors import ConfigError
from strokelab.training import precision
from strokelab.training.precision import Choice, check_precision, settle
from strokelab.training.trial import Trial

SLICE = (224, 192)


def settings(asked, *, allocator="auto", accelerator="cpu", batch=16, width=64):
    return {
        "trainer": {"precision": asked, "accelerator": accelerator},
        "allocator": allocator,
        "data": {"batch_size": batch},
        "model": {"network": {"base": width}},
    }


@pytest.fixture
def trial(monkeypatch):
    """A machine whose answers are given; remembers what it was asked."""
    asked = []

    def answer(half, resident):
        def try_out(dimensions, *, half: bool, resident: bool, channels_last: bool) -> Trial:
            asked.append({"dimensions": dimensions, "half": half, "resident": resident})
            return Trial(gains[0] if half else None, gains[1] if resident else None, 0.9)

        gains = (half, resident)
        monkeypatch.setattr(precision, "try_out", try_out)
        monkeypatch.setattr(precision, "cannot_keep", lambda: None)
        return asked

    return answer


@pytest.mark.parametrize(
    ("half", "resident", "expected"),
    [
        (1.9, 1.4, ("bf16-mixed", "resident")),
        (1.1, 1.4, ("32-true", "resident")),  # not for ten per cent
        (0.3, 1.0, ("32-true", "default")),
        (4.0, 0.8, ("bf16-mixed", "default")),
    ],
)
def test_auto_is_settled_by_a_trial_and_said_in_one_line(trial, half, resident, expected):
    asked = trial(half, resident)
    choice = settle(settings("auto"), SLICE)
    assert (choice.precision, choice.allocator) == expected
    assert asked == [{"dimensions": 2, "half": True, "resident": True}]
    assert "\n" not in choice.said
    for word in (f"bf16 {half:.1f}x", f"tensors {resident:.1f}x", "trial 0.9 s", "trainer.precision=", "allocator="):
        assert word in choice.said


DEEP = {"_target_": "strokelab.networks.resunet3d.ResUNet3D", "in_channels": 1, "base": 4}


@pytest.mark.parametrize(
    ("shape", "halves", "wrong"),
    [((16, 32, 32), None, True), ((32, 16, 16), None, False), ((64, 32, 32), {"split": 1}, False)],
)
def test_volumes_of_few_slices_are_not_trained_in_bf16_where_the_processor_fails(
    shape, halves, wrong, trial, monkeypatch
):
    trial(9.0, 1.0)
    monkeypatch.setattr(precision, "computed_wrongly", lambda: True)
    auto, named = (settings(asked, allocator="default") for asked in ("auto", "bf16"))
    for one in (auto, named):
        one["model"] |= {"network": DEEP, "hemispheres": halves}
    assert settle(auto, shape).precision == ("32-true" if wrong else "bf16-mixed")
    if wrong:
        with pytest.raises(ConfigError, match=r"set trainer\.precision=32-true"):
            settle(named, shape)
    else:
        assert settle(named, shape).precision == "bf16-mixed"
    assert settle(auto, (64, 64, 64), earlier=[shape, None]).precision == ("32-true" if wrong else "bf16-mixed")
    monkeypatch.setattr(precision, "computed_wrongly", lambda: False)
    assert settle(named, shape).precision == "bf16-mixed"


def test_what_was_asked_for_by_name_is_not_tried(trial):
    asked = trial(9.0, 9.0)
    assert settle(settings("bf16", allocator="default"), SLICE) == Choice("bf16-mixed", "default")
    assert settle(settings(32, allocator="resident"), SLICE) == Choice("32-true", "resident")
    assert not asked
    assert settle(settings("32-true"), SLICE).allocator == "resident"
    assert settle(settings("auto", allocator="default"), (64, 64, 64)).precision == "bf16-mixed"
    assert asked == [
        {"dimensions": 2, "half": False, "resident": True},
        {"dimensions": 3, "half": True, "resident": False},
    ]


def test_settled_words_stay_settled(trial):
    asked = trial(9.0, 9.0)
    first = settle(settings("auto"), SLICE)
    again = settle(settings(first.precision, allocator=first.allocator), SLICE)
    assert again == Choice(first.precision, first.allocator)
    assert len(asked) == 1
    of_old = {key: value for key, value in settings("32-true").items() if key != "allocator"}
    assert settle(of_old, SLICE) == Choice("32-true", "default")


def test_small_tensors_need_no_trial_of_memory(trial):
    asked = trial(9.0, 9.0)
    assert settle(settings("32-true", batch=2, width=4), (24, 28)) == Choice("32-true", "default")
    assert not asked
    assert settle(settings("32-true"), None).allocator == "resident"  # unknown: find out


@pytest.mark.parametrize("reason", ["no glibc on darwin", "jemalloc is loaded in its place"])
def test_where_memory_cannot_be_kept_the_reason_is_said(trial, monkeypatch, reason):
    asked = trial(2.0, 9.0)
    monkeypatch.setattr(precision, "cannot_keep", lambda: reason)
    choice = settle(settings("auto"), SLICE)
    assert (choice.precision, choice.allocator) == ("bf16-mixed", "default")
    assert reason in choice.said
    assert asked == [{"dimensions": 2, "half": True, "resident": False}]
    assert reason in settle(settings("32-true", allocator="resident"), SLICE).said


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), "bf16-mixed"), ((8, 6), "bf16-mixed"), ((7, 0), "16-mixed"), ((6, 1), "32-true")],
)
def test_a_gpu_gets_what_it_computes_in(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    choice = settle(settings("auto", accelerator="gpu"), SLICE)
    assert (choice.precision, choice.allocator) == (expected, "default")
    assert "Some GPU" in choice.said
    assert expected in choice.said
    assert settle(settings(16, accelerator="gpu"), SLICE) == Choice("16-mixed", "default")


def test_float16_on_a_cpu_is_refused_not_replaced():
    for asked in (16, "16-mixed"):
        with pytest.raises(ConfigError, match="=bf16-mixed"):
            check_precision(settings(asked))


@pytest.mark.parametrize("asked", ["bf16-true", "16-true", "half", "transformer-engine"])
def test_weights_in_half_precision_are_refused(asked):
    with pytest.raises(ConfigError, match="mixed"):
        check_precision(settings(asked))


def test_an_unknown_allocator_is_refused():
    with pytest.raises(ConfigError, match="resident"):
        check_precision(settings("32-true", allocator="tcmalloc"))


def test_the_trial_answers_and_leaves_no_trace():
    from strokelab.training.trial import try_out

    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    trial = try_out(2, half=True, resident=False, channels_last=True)
    assert trial.half > 0
    assert trial.resident is None
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not memory.is_kept()


@pytest.mark.skipif(memory.cannot_keep() is not None, reason=f"{memory.cannot_keep()}")
def test_the_trial_of_memory_leaves_it_kept_until_it_is_given_back():
    from strokelab.training.trial import try_out

    try:
        assert try_out(3, half=False, resident=True).resident > 0
        assert memory.is_kept()
    finally:
        memory.use("default")
    assert not memory.is_kept()
