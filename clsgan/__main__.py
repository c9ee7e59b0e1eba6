"""``python -m clsgan`` is the command ``clsgan``."""

import sys

from clsgan.cli import main

if __name__ == "__main__":
    sys.exit(main())
