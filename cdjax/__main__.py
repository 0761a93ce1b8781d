"""`python -m cdjax` is `cdjax`."""

import sys

from cdjax.cli import command

if __name__ == "__main__":
    sys.exit(command())
