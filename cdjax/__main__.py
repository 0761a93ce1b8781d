"""`python -m cdjax` is `cdjax`."""

import sys

from cdjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
