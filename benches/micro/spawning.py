"""Starting a program and waiting for its end, from a process that is small and from one that is not.

``fork`` copies the page tables of the heap, and its price grows with the heap; ``vfork`` and ``posix_spawn`` do not.
"""

from __future__ import annotations

import asyncio
import functools
import os

from benches.micro._case import Cases, Stopwatch

spawning = Cases("spawn", "us", "process")

_PROGRAM = "/bin/true"
_TOGETHER = 20
_HEAP = 1_500_000_000
#: What the interpreter's own allocator gives out in pages of its own. The kernel may put one large block into huge pages, of which
#: there are few to copy; a heap of small objects is what a service has.
_PIECE = 400


@spawning.add("small", 50, helped=True)
async def small(count: int, watch: Stopwatch) -> None:
    """One after the other."""
    for _ in range(count):
        await _run()


@spawning.add("concurrent", 200, helped=True, quick=False)
async def concurrent(count: int, watch: Stopwatch) -> None:
    """Twenty at a time."""
    for first in range(0, count, _TOGETHER):
        await asyncio.gather(*[_run() for _ in range(min(_TOGETHER, count - first))])


@spawning.add("large", 20, helped=True)
async def large(count: int, watch: Stopwatch) -> None:
    """One after the other, with a heap of 1.5 GB."""
    _fill_heap()
    watch.start()
    for _ in range(count):
        await _run()


async def _run() -> None:
    process = await asyncio.create_subprocess_exec(_PROGRAM)
    if status := await process.wait():
        raise RuntimeError(f"{_PROGRAM} ended with status {status}")


@functools.cache
def _fill_heap() -> list[bytes]:
    pages, size = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    if pages * size < 2 * _HEAP:
        raise RuntimeError(f"a heap of 1.5 GB wants 3 GB of free memory, and there are {pages * size / 1e9:.1f}")
    return [bytes(_PIECE) for _ in range(_HEAP // _PIECE)]
