"""Runs one process of the tested interpreter, limits it, and reads what it said while it lived.

A process may end in four ways: it says it is done; it hangs and is killed; it dies of a signal; it leaves in the middle. Whoever
judges wants to tell them apart, and to know how far it came: so what runs inside writes one JSON object a line, flushed at
once, to a file of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

INSIDE = Path(__file__).with_name("inside")
"""What the tested interpreter imports of ours; see there."""

NOT_REACHED = "not reached"
"""How the detail of a test begins whose process ended before it came to it."""

Event = dict[str, Any]


class Children:
    """What has to be ended when the runner itself is: each leads a session of its own, and would go on without it."""

    running: ClassVar[set[subprocess.Popen[bytes]]] = set()
    starting = 0
    """How many are being started. A signal that comes meanwhile waits for them, or they would be missed."""
    status: int | None = None
    """How the runner is to end, as soon as none is being started."""
    lock = threading.RLock()

    @classmethod
    def start(cls, words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with cls.lock:
            cls.starting += 1
        try:
            if cls.status is not None:
                raise KeyboardInterrupt  # the runner is ending; `finally` lets it
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, **options)
            cls.running.add(process)
        finally:
            with cls.lock:
                cls.starting -= 1
            cls.end_if_due()
        return process

    @classmethod
    def end_if_due(cls) -> None:
        if cls.status is not None and not cls.starting:
            for process in cls.running.copy():
                kill(process)
            os._exit(cls.status)


def end_with_children() -> None:
    """From here on, SIGTERM and Ctrl-C end what runs along with the runner."""

    def end(number: int, frame: object) -> None:
        Children.status = 128 + number
        Children.end_if_due()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def talk(
    command: Callable[[Path], list[str]], limit: float, environment: Mapping[str, str] | None = None
) -> tuple[list[Event], str, str]:
    """Start a process, wait for its end or kill it.

    Args:
        command: Told the path of the file for the events, gives the words of the command line.
        limit: Seconds it may take.
        environment: Variables it gets beside ours; those that would change a Python (PYTHON...) it gets from here only.

    Returns:
        Its events, its output and how it ended ("ended" when all is well).
    """
    with tempfile.TemporaryDirectory(prefix="tepal-") as folder:
        events_path = Path(folder, "events")
        home = Path(folder, "home")
        home.mkdir()  # the tests leave files in the working directory
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        with open(Path(folder, "output"), "w+b") as output:
            process = Children.start(
                command(events_path), cwd=home, env=inherited | dict(environment or {}), stdout=output, stderr=output
            )
            try:
                begin = time.monotonic()
                status = process.wait(limit)
                end = "ended" if status == 0 else how_it_died(status)
                if status == 1 and time.monotonic() - begin > limit * 0.85:
                    end = f"hung, ended after {limit:.0f} s,"
            except subprocess.TimeoutExpired:
                end = f"hung, killed after {limit:.0f} s,"
            finally:
                kill(process)
                Children.running.discard(process)
            output.seek(0)
            text = output.read().decode(errors="replace")
        lines = events_path.read_text(encoding="utf-8").splitlines() if events_path.exists() else []
    return [event for event in map(parse, lines) if event is not None], text, end


def parse(line: str) -> Event | None:
    try:
        event: Event = json.loads(line)
    except ValueError:  # the process was killed while it wrote this line
        return None
    return event


def how_it_died(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exited with {status}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started: it leads a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def tail(output: str, lines: int = 40) -> str:
    return "\n".join(output.splitlines()[-lines:])
