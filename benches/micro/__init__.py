"""Micro-benchmarks: what one operation of a loop costs, written with asyncio's own names as its users write them.

``python -m benches.micro <loop> <case> <scale>`` runs one and prints a line of JSON.
"""

from __future__ import annotations

from benches.micro._case import MicroCase
from benches.micro.callbacks import callbacks
from benches.micro.primitives import primitives
from benches.micro.tasks import tasks
from benches.micro.threads import threads
from benches.micro.timers import timers

CASES: dict[str, MicroCase] = callbacks | timers | tasks | primitives | threads
