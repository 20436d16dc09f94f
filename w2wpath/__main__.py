"""``python -m w2wpath`` is the same as the console script ``w2wpath``."""

from w2wpath.cli.main import main

if __name__ == "__main__":
    main()
