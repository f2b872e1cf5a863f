"""``python -m strokelab.cli``, for scripts that know only the interpreter."""

from strokelab.cli import main

main()
