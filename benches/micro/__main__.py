"""Runs one case on one loop in this process."""

from __future__ import annotations

import asyncio
import gc
import json
import sys

from benches import loops
from benches.micro import CASES
from benches.micro._case import MicroCase, Stopwatch


def main(loop: str, name: str, scale: float) -> None:
    """Warms up with a tenth, then prints the best of the repeats: what disturbs a run only ever adds to it."""
    case = CASES[name]
    # A hundred of what is cheap; what is not says with its count that it is dear.
    least = min(100, max(1, case.count // 10))
    count = max(least, int(case.count * scale))
    factory = None if loop == loops.TRIO else loops.factory(loop)
    if case.repeats > 1:
        run(case, factory, max(least, count // 10))
    watches = [run(case, factory, count) for _ in range(case.repeats)]
    best = {
        "cpu_ns": min(watch.cpu for watch in watches),
        "wall_ns": min(watch.wall for watch in watches),
        "children_ns": min(watch.children for watch in watches),
    }
    print(json.dumps({metric: value / count for metric, value in best.items()}))


def run(case: MicroCase, factory: loops.LoopFactory | None, count: int) -> Stopwatch:
    """One run on a fresh loop; under Trio, if there is none."""

    async def timed() -> Stopwatch:
        watch = Stopwatch()
        await case.body(count, watch)
        watch.stop()
        return watch

    gc.collect()
    if factory is None:
        import trio

        return trio.run(timed)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(timed())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
