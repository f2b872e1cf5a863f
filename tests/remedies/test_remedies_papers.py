"""Remedies of ``strokelab paper``: what cannot be made names the command that lists or makes."""

import pandas as pd
from doing import executes, said, strokelab

from strokelab.configuration import conf_folder
from strokelab.papers.command import Asked, items, make


@executes("strokelab/papers/command.py:_figure", "strokelab/papers/command.py:_named")
def test_what_is_not_made_is_in_the_list():
    for name in ("sgnet_figure2", "sgnet_figure33"):
        assert said(make, name, Asked(), None).remedy == "strokelab paper lists them all"
    listed = strokelab("paper")
    assert all(f"{name}: " in listed for name in items())


@executes("strokelab/papers/command.py:_ranked", "strokelab/papers/command.py:_submitted")
def test_a_table_of_teams_is_made_of_a_csv(tmp_path):
    board = tmp_path / "FILE.csv"
    board.write_text("team,set,dice\nA,hidden,0.5\nB,hidden,0.6\n")
    for asked in (Asked(leaderboard=board), Asked()):
        name = "sgnet_table5" if asked.leaderboard else "mapping_table3"
        remedy = said(make, name, asked, None).remedy
        assert remedy == "strokelab paper mapping_table3 --leaderboard FILE.csv"
        typed = remedy.replace("FILE.csv", str(board)).split()[1:]
        strokelab(*typed, "--out", tmp_path)
    made = pd.read_csv(tmp_path / "tables/paper_mapping_table3.csv")
    assert made["Team"].tolist() == ["B", "A"]
    # Masks for a test set of others: the remedy names runs and the root, which are trainings; the words are parsed.
    assert said(make, "mapping_table2", Asked(), None).remedy == (
        "strokelab paper mapping_table2 --runs SWEEP data.root=DIR"
    )
    assert (conf_folder() / "paper" / "sunet_table1.yaml").is_file()
    assert said(make, "sunet_table2", Asked(), None).remedy.startswith("strokelab paper lists")
