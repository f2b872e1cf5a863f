"""The weighted rank of a challenge from a csv: hand-computed scores, ties, teams that did not finish, bad cells."""

import math

import pytest

from strokelab.errors import DataError
from strokelab.statistics.leaderboard import read_leaderboard, weighted_ranks

LINES = [
    "team,set,Dice,SLC,Runtime ↓",
    "A,public,0.7,4,10",
    "B,public,0.6,3,10",
    "C,public,0.5,5,1",
    "A,hidden,0.6,4,9",
    "B,hidden,0.7,4,8",
]


def board(tmp_path, *lines):
    path = tmp_path / "board.csv"
    path.write_text("\n".join(lines or LINES) + "\n", encoding="utf-8")
    return path


def test_ranks_are_averaged_over_metrics_then_over_sets_hidden_four_times(tmp_path):
    """Public: Dice 1 2 3, SLC 2 1 3, runtime 2.5 2.5 1; hidden: Dice 2 1, SLC 1.5 1.5, runtime 2 1."""
    found = weighted_ranks(read_leaderboard(board(tmp_path))).set_index("team")
    assert found["rank_public"].tolist() == pytest.approx([5.5 / 3, 5.5 / 3, 7 / 3])
    assert found.index.tolist() == ["B", "A", "C"]
    assert found["rank_hidden"].tolist()[:2] == pytest.approx([3.5 / 3, 5.5 / 3])
    assert found["score"].tolist()[:2] == pytest.approx([(5.5 / 3 + 4 * 3.5 / 3) / 5, 5.5 / 3])
    assert found["place"].tolist()[:2] == [1, 2]


def test_a_team_that_did_not_finish_is_ranked_where_it_is_and_has_no_score(tmp_path):
    found = weighted_ranks(read_leaderboard(board(tmp_path))).set_index("team")
    assert math.isnan(found.loc["C", "score"])
    assert math.isnan(found.loc["C", "place"])
    assert found.loc["C", "rank_public"] == pytest.approx(7 / 3)


def test_equal_scores_share_a_place_and_an_infinite_distance_is_last(tmp_path):
    lines = ["team,set,hd95", "A,hidden,3", "B,hidden,3", "C,hidden,inf"]
    found = weighted_ranks(read_leaderboard(board(tmp_path, *lines)))
    assert found["place"].tolist() == [1, 1, 3]
    assert found["score"].tolist() == [1.5, 1.5, 3]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("B,hidden,,4,8", "line 6: Dice of B (hidden) is missing"),
        ("B,hidden,0.7,4", "line 6: Runtime ↓ of B (hidden) is missing"),
        ("B,hidden,0.7,four,8", "line 6: SLC of B (hidden) is 'four'"),
        ("B,hidden,nan,4,8", "Dice of B (hidden)"),
        ("A,hidden,0.7,4,8", "A in lines 5 and 6"),
        ("B,secret,0.7,4,8", "set 'secret'"),
        (",hidden,0.7,4,8", "team ''"),
    ],
)
def test_what_is_wrong_in_a_line_is_named(tmp_path, line, word):
    with pytest.raises(DataError) as caught:
        read_leaderboard(board(tmp_path, *LINES[:-1], line))
    assert word in caught.value.found


def test_many_missing_cells_are_counted(tmp_path):
    lines = ["team,set,dice,jaccard", *(f"T{k},hidden,," for k in range(4))]
    with pytest.raises(DataError, match="and 3 more"):
        read_leaderboard(board(tmp_path, *lines))


def test_a_metric_without_a_direction_and_a_file_that_is_no_table(tmp_path):
    with pytest.raises(DataError, match="Runtime ↑"):
        read_leaderboard(board(tmp_path, "team,set,Runtime", "A,hidden,3"))
    for lines in (["name,dice", "A,3"], ["team,set,dice"], ["team,set", "A,hidden"]):
        with pytest.raises(DataError, match="columns team, set"):
            read_leaderboard(board(tmp_path, *lines))
    (tmp_path / "board.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError):
        read_leaderboard(tmp_path / "board.csv")
    with pytest.raises(DataError):
        read_leaderboard(tmp_path / "none.csv")
