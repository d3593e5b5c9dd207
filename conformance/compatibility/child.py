"""One loop tries probes, in a process of its own: some loops die, and some change the standard library.

    python -m conformance.compatibility.child LOOP INDEX...

Each probe is announced by a line and answered by another, so that whoever reads knows at which one the process died.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable

from .probes import every_probe


def main() -> None:
    name, *indices = sys.argv[1:]
    # The answers have a pipe to themselves: what a loop, or a child of a probe, prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    new_loop = loop_factory(name)
    probes = every_probe()
    warnings.simplefilter("ignore")
    for index in map(int, indices):
        print(json.dumps({"begun": index}), file=answers, flush=True)
        outcome: dict[str, str]
        try:
            outcome = {"answer": repr(probes[index].run(new_loop))}
        except TimeoutError:
            outcome = {"error": "TimeoutError"}
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is the outcome
            outcome = {"error": type(error).__name__, "detail": str(error)}
        print(json.dumps({"ended": index, **outcome}), file=answers, flush=True)
    # Threads that a failed probe left behind are nobody's business.
    os._exit(0)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a loop of the library called so; each has it under the same name."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(name).new_event_loop
    return factory


if __name__ == "__main__":
    main()
