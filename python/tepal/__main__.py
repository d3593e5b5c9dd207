"""`python -m tepal` is the command `tepal`."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
