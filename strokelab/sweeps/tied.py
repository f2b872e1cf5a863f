"""``python tied.py PARENT COMMAND...`` becomes COMMAND, which is asked to stop (SIGTERM) when its parent dies.

Linux; elsewhere COMMAND just starts. A script of its own because what a process does between fork and exec must not
be Python where other threads run. Knows the standard library alone, to start within milliseconds.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before the tie was there
        sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
