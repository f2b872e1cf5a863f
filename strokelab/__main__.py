"""``python -m strokelab``: the ``strokelab`` command where its script is not on the PATH."""

from strokelab.cli import main

if __name__ == "__main__":
    main()
