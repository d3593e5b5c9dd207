"""Micro-benchmarks: what one operation of a loop costs, written with asyncio's own names as its users write them.

``python -m benches.micro <loop> <case> <scale>`` runs one and prints a line of JSON.
"""

from __future__ import annotations

from benches.micro._case import Cases
from benches.micro.callbacks import callbacks
from benches.micro.names import names
from benches.micro.pipes import pipes
from benches.micro.primitives import primitives
from benches.micro.spawning import spawning
from benches.micro.structured import structured
from benches.micro.tasks import tasks
from benches.micro.threads import threads
from benches.micro.timers import timers

#: What happens in the loop itself.
MICRO = Cases("micro")
for _cases in (callbacks, timers, tasks, primitives, threads):
    MICRO.update(_cases)

#: All that ``python -m benches.micro`` knows.
CASES = {**MICRO, **structured, **spawning, **pipes, **names}

__all__ = ["CASES", "MICRO", "names", "pipes", "spawning", "structured"]
