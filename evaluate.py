"""Evaluate trained runs: ``python evaluate.py runs=[outputs/a,outputs/b]``, or ``sweep=multirun/DATE/TIME-NAME``.

From anywhere: ``strokelab evaluate``.
"""

from strokelab.doors import enter
from strokelab.doors.evaluate import main

if __name__ == "__main__":
    enter("evaluate", main)
