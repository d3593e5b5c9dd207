"""Fail when a source file has grown past what one can read in a sitting.

The house keeps one idea to a file (CONTRIBUTING.md). A counter cannot see ideas, so the limit is far above the usual
size of a file: what reaches it holds a second idea that wants a file of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1000
SUFFIXES = {".rs", ".py", ".pyi", ".sh"}


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    sources = [ROOT / name for name in listed.stdout.split("\0") if Path(name).suffix in SUFFIXES]
    long = 0
    for path in sources:
        # A file that is deleted but not yet committed is still listed.
        if path.is_file() and (lines := len(path.read_text(encoding="utf-8").splitlines())) > LIMIT:
            print(f"{path.relative_to(ROOT)}: {lines} lines, more than {LIMIT}: which second idea lives in it?")
            long += 1
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
