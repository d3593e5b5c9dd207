"""Which loops are measured, and which of them are here.

A rival that cannot be imported, or whose loop cannot turn once, is named with its reason and left out; it is never fatal.
Each one is tried in a process of its own, because some change the standard library when they are imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
SUBJECT = "tepal"
CONTROL = "asyncio"
#: Not a loop: a bare epoll server in Rust, the least an echo can cost.
FLOOR = "floor"
RIVALS = ("uvloop", "rloop", "rsloop", "zuvloop")
NAMES = (CONTROL, *RIVALS, SUBJECT)
#: tepal again, with asyncio's names standing for tepal's primitives: the cost of tepal's own spelling.
ACCELERATED = "tepal-accelerated"
#: No loops either: transports laid over a loop that is there, by the loop under them. They stand in rows of what they replace.
LAYERS = {"aiofastnet": CONTROL, "aiofastnet-uv": "uvloop"}
_LAYER = "aiofastnet"
#: No loop of asyncio's: what structured concurrency is compared with.
TRIO = "trio"
_process = contextlib.ExitStack()

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True)
class Found:
    """A loop that is here, with its version, or the reason why it is not."""

    name: str
    version: str | None
    reason: str | None = None


def factory(name: str) -> LoopFactory:
    """The function that makes a loop of the library called so; every one of them has it under the same name."""
    if name == ACCELERATED:
        # For as long as the process lasts, so somebody must hold it.
        _process.enter_context(importlib.import_module(SUBJECT).accelerated())
        return factory(SUBJECT)
    if name in LAYERS:
        layer = importlib.import_module(_LAYER)
        return cast("LoopFactory", layer.loop_factory(factory(LAYERS[name])))
    return cast("LoopFactory", importlib.import_module(name).new_event_loop)


def find(name: str) -> Found:
    """Tries a loop out in another process."""
    program = (
        "import asyncio, sys; from benches import loops; "
        "l = loops.factory(sys.argv[1])(); l.run_until_complete(asyncio.sleep(0)); l.close()"
    )
    if name == TRIO:
        program = "import trio; trio.run(trio.sleep, 0)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, name],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Found(name, None, "its loop did not end within 30 s")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return Found(name, None, lines[-1] if lines else f"ended with status {done.returncode}")
    return Found(name, _version(name))


def _version(name: str) -> str:
    if name == CONTROL:
        return platform.python_version()
    if name == ACCELERATED:
        return _version(SUBJECT)
    if name in LAYERS:
        return f"{_distribution(_LAYER)} on {LAYERS[name]} {_version(LAYERS[name])}"
    return _distribution(name)


def _distribution(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
