"""A file of a gigabyte through ``loop.sendfile``: the kernel's work, unless a loop copies."""

from __future__ import annotations

import atexit
import functools
import tempfile
from pathlib import Path

from benches.families.network import Exchange, Network, cost_of
from benches.loops import LAYERS

SIZE = 10**9


def file_families() -> list[Network]:
    """One transfer in each round, after one that brings the file into the page cache."""
    exchange = Exchange(cost_of("sendfile/1GB", "GB"), "sink", {"size": SIZE, "requests": 1}, quick=True)
    return [Network("files", [exchange], extras=LAYERS, file=sparse_file)]


@functools.cache
def sparse_file() -> Path:
    """A file of the size that has no block on the disk; it is gone when the run ends."""
    file = tempfile.NamedTemporaryFile(prefix="tepal-benches-")  # noqa: SIM115 - lives as long as the run
    atexit.register(file.close)
    file.truncate(SIZE)
    return Path(file.name)
