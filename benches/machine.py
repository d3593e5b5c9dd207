"""What the numbers were measured on; without it they mean nothing."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path

from benches.loops import ROOT
from benches.model import Plan


def describe(plan: Plan, arguments: list[str]) -> dict[str, object]:
    """The head of a result."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _processor(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}"
        + (" free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""),
        "python_build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "openssl": ssl.OPENSSL_VERSION,
        "commit": _commit(),
        "mode": "quick" if plan.quick else "full",
        "rounds": plan.rounds,
        "seconds_per_case": plan.seconds,
        "arguments": arguments,
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        # What else was going on: a busy machine spoils caches even where only our own processor time is counted.
        "load_average": "/".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def file_name(header: dict[str, object]) -> str:
    """``<date>-<machine>``, with the interpreter, so that a day's runs on two of them stand side by side."""
    words = f"{header['machine']} {header['cores']} cores".lower()
    machine = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    return f"{str(header['date'])[:10]}-{machine}-py{sys.version_info.major}.{sys.version_info.minor}"


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
