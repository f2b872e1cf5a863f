"""Per case: two binary masks in, numbers out. Knows no torch (except ``live``), no cohort and no model."""

from strokelab.metrics.case import score_case, score_row
from strokelab.metrics.profiles import METRICS, PROFILES, Metric, Profile

__all__ = ["METRICS", "PROFILES", "Metric", "Profile", "score_case", "score_row"]
