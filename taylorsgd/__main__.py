"""`python -m taylorsgd` is the command `taylorsgd`."""

import sys

from taylorsgd.cli import main

if __name__ == "__main__":
    sys.exit(main())
