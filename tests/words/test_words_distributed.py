"""What the processes of a training bring together; nobody waits for one that failed."""

import pytest
import torch
from two_processes import in_two_processes

from strokelab.distributed import gathered, own, summed, together
from strokelab.errors import DataError, ProcessError


def all_in_one(rank):
    def failing(number, error):
        def work():
            if rank == number:
                raise error
            return rank

        try:
            return together(work)
        except Exception as raised:
            return type(raised), str(raised)

    x = torch.tensor([1.0 + rank, 2.0], requires_grad=True)
    (summed(x).square().sum() * (rank + 1)).backward()
    bad_data = DataError("case-7", found="x", expected="y", remedy="z")
    return {
        "gathered": gathered({"rank": rank, "tensor": torch.tensor(rank)}),
        "own": (own(["a", "b"]), own(["of", "three", "processes"]), own({"of": "an earlier version"})),
        "gradient": x.grad,
        "none fails": together(lambda: rank + 10),
        "bad data on the second": failing(1, bad_data),
        "an accident on the first": failing(0, RuntimeError("out of memory\nand more")),
    }


@pytest.mark.slow
def test_two_processes(tmp_path):
    both = in_two_processes(all_in_one, tmp_path)
    for rank, found in enumerate(both):
        assert found["gathered"] == [{"rank": 0, "tensor": 0}, {"rank": 1, "tensor": 1}]
        assert found["own"] == ("ab"[rank], None, {"of": "an earlier version"})
        # sum (3, 4), squared; of the losses of both, once and twice: 3 * 2 * sum
        assert found["gradient"].tolist() == [18, 24]
        assert found["none fails"] == rank + 10
        assert found["bad data on the second"][0] is DataError
        assert found["bad data on the second"][1].startswith("case-7")
    assert both[0]["an accident on the first"] == (RuntimeError, "out of memory\nand more")
    kind, message = both[1]["an accident on the first"]
    assert kind is ProcessError
    assert "process 0 of 2" in message
    assert "RuntimeError: out of memory" in message


def test_one_process_is_given_what_it_gave():
    x = torch.ones(2)
    assert summed(x) is x
    assert gathered("state") == ["state"]
    assert own(["state"]) == "state"
    assert own(["of", "two"]) is None
    assert together(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        together(lambda: 1 // 0)
