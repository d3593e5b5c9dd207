"""`python -m tepal` is the command `tepal`."""

from ._cli import main

if __name__ == "__main__":
    main()
