"""Stands in for ``train.py`` in a sweep: a run folder, a status, a way to end; no training, no imports to speak of.

What it is to do comes as overrides: ``sleep``, ``fail``, ``hang`` (until told to stop), ``deaf`` (never stops),
``child`` (leaves a process behind), ``wait_for`` (a file that another member makes).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

asked = dict(item.lstrip("+").partition("=")[::2] for item in sys.argv[1:])
folder = Path(asked["hydra.run.dir"][1:-1].replace(r"\'", "'").replace(r"\${", "${"))  # as Hydra unquotes it


def say(state, **more):
    temporary = folder / ".status"
    temporary.write_text(json.dumps({"state": state, "minutes": 0, **more}))
    temporary.replace(folder / "status.json")


def stop(number, frame):
    (folder / "asked").open("a").write("stop\n")
    if "deaf" not in asked:
        say("killed", error=signal.Signals(number).name)
        sys.exit(143)


signal.signal(signal.SIGTERM, stop)
(folder.parent / "order").open("a").write(f"{folder.name}\n")
(folder / "environment.txt").write_text(f"{os.environ.get('OMP_NUM_THREADS')} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
if "child" in asked:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (folder / "child").write_text(str(left.pid))
say("running")
(folder / "ready").touch()
while "hang" in asked or "deaf" in asked or not (folder.parent / asked.get("wait_for", "order")).exists():
    time.sleep(0.02)
if "silent" in asked:
    os.kill(os.getpid(), signal.SIGKILL)
if "fail" in asked:
    sys.exit("ValueError: no lesion left\nsecond line")
(folder / "cases.csv").write_text(f"case,dice\na,{asked.get('dice', 0.5)}\nb,{asked.get('dice', 0.5)}\n")
say("finished", pid=os.getpid())
