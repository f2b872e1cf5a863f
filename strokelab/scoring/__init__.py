"""A run and labelled cases in, one case table out: what training's last step and ``evaluate.py`` share.

Prediction and scoring overlap: while the network is at one case, a thread of its own scores and saves the one before.
"""

from strokelab.scoring.cases import Scorer, score_cases
from strokelab.scoring.tables import Scores, joined, read_scores, write_scores, write_table

__all__ = ["Scorer", "Scores", "joined", "read_scores", "score_cases", "write_scores", "write_table"]
