"""Signals."""

from __future__ import annotations

import os
import signal
from typing import Any

from ..probes import probe


@probe("add_signal_handler", "sig", "callback", "args")
@probe("remove_signal_handler", "sig")
async def handlers(loop: Any) -> object:
    come = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, come.set_result, "came")
    os.kill(os.getpid(), signal.SIGUSR1)
    seen: list[object] = [await come, loop.remove_signal_handler(signal.SIGUSR1)]
    seen += [loop.remove_signal_handler(signal.SIGUSR1), signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL]

    replaced = loop.create_future()
    for name in ("first", "second"):
        loop.add_signal_handler(signal.SIGUSR1, replaced.set_result, name)
    os.kill(os.getpid(), signal.SIGUSR1)
    seen += [await replaced, loop.remove_signal_handler(signal.SIGUSR1)]

    async def coroutine() -> None: ...

    for sig, callback in (
        (signal.SIGKILL, print),
        (0, print),
        (1000, print),
        ("TERM", print),
        (signal.SIGTERM, coroutine),
    ):
        try:
            loop.add_signal_handler(sig, callback)
        except Exception as error:  # noqa: BLE001  # its name is the answer
            seen.append(type(error).__name__)
        else:
            seen.append("accepted")
    return seen
