"""Runs one of pyperformance's asyncio benchmarks on one loop in this process: its own script, unchanged, timed our way."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from benches import loops
from benches.micro._case import Stopwatch

TREES = ("none", "io", "memoization", "cpu_io_mixed")
#: What is run, by the names that pyperformance gives: each variant of the tree, with gather and with task groups.
NAMES = (
    *(f"async_tree_{eager}{tree}{group}" for group in ("", "_tg") for eager in ("", "eager_") for tree in TREES),
    "async_generators",
    "asyncio_tcp",
    "asyncio_tcp_ssl",
    "asyncio_websockets",
)
REPEATS = 3


def directory() -> Path | None:
    """Where pyperformance keeps its scripts; None if it is not installed."""
    spec = find_spec("pyperformance")
    return Path(str(spec.origin)).parent / "data-files" / "benchmarks" if spec else None


def _script(name: str) -> ModuleType:
    home = directory()
    assert home is not None
    path = home / f"bm_{name}" / "run_benchmark.py"
    spec = importlib.util.spec_from_file_location(f"bm_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def benchmark(name: str) -> Callable[[], Coroutine[Any, Any, object]]:
    """The coroutine function that the script of that name would time."""
    if name.startswith("async_tree_"):
        variant = name.removeprefix("async_tree_")
        tree, groups = variant.removesuffix("_tg"), variant.endswith("_tg")
        # An eager tree without work is called "eager".
        kind = _script("async_tree").BENCHMARKS["eager" if tree == "eager_none" else tree]
        return lambda: kind(use_task_groups=groups).run()
    if name.startswith("asyncio_tcp"):
        main = _script("asyncio_tcp").main
        return lambda: main(name.endswith("_ssl"))
    script = _script(name)
    return script.bench_async_generators if name == "async_generators" else script.main


def main(loop: str, name: str) -> None:
    """Prints the best of the repeats: what disturbs a run only ever adds to it."""
    warnings.simplefilter("ignore")  # the scripts use what libraries of their time had
    factory = loops.factory(loop)
    body = benchmark(name)
    watches = []
    for _ in range(REPEATS):
        gc.collect()
        with asyncio.Runner(loop_factory=factory) as runner:
            watches.append(runner.run(_timed(body)))
    best = {"cpu_ms": min(watch.cpu for watch in watches) / 1e6, "wall_ms": min(watch.wall for watch in watches) / 1e6}
    print(json.dumps(best))


async def _timed(body: Callable[[], Coroutine[Any, Any, object]]) -> Stopwatch:
    watch = Stopwatch()
    await body()
    watch.stop()
    return watch


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
