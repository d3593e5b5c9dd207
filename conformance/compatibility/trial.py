"""Trying a loop: all probes, through as many processes as it takes."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .probes import LIMIT

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 2 * LIMIT
"""Seconds without a word after which a process is taken to hang; a probe that waits ends itself before that."""


@dataclass(frozen=True)
class Outcome:
    """What came of one probe: an answer, the name of an error, or the end of the process ("crashes", "hangs")."""

    answer: str | None = None
    error: str | None = None
    detail: str = ""
    end: str | None = None


def try_all(loop: str, indices: Sequence[int]) -> dict[int, Outcome]:
    """Run these probes on a loop. A process that dies is followed by another, which goes on behind that probe."""
    outcomes: dict[int, Outcome] = {}
    left = list(indices)
    while left:
        begun = None
        for line in _lines(loop, left):
            if isinstance(line, str):
                if begun is None:
                    # It did not come as far as the first probe.
                    return outcomes | dict.fromkeys(left, Outcome(end=line))
                outcomes[begun] = Outcome(end=line)
            elif "begun" in line:
                begun = int(line["begun"])
                continue
            elif begun is not None:
                error = line.get("error")
                ended = error == "TimeoutError"
                outcomes[begun] = Outcome(line.get("answer"), error, line.get("detail", ""), "hangs" if ended else None)
        left = [index for index in left if index not in outcomes]
    return outcomes


def _lines(loop: str, indices: Sequence[int]) -> Iterator[dict[str, str] | str]:
    """Give what a process says, and in the end how it ended if that was not well."""
    command = [sys.executable, "-m", f"{__package__}.child", loop, *map(str, indices)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    with process, process.stdout as pipe:
        buffer = b""
        while True:
            if not select.select([pipe], [], [], PATIENCE)[0]:
                process.kill()
                yield "hangs"
                return
            chunk = pipe.read1(65536)  # type: ignore[attr-defined]
            if not chunk:
                break
            *lines, buffer = (buffer + chunk).split(b"\n")
            yield from map(json.loads, lines)
        if process.wait():
            yield "crashes"
