"""Putting tepal where the event loop policy is asked: `install()`.

Importing tepal replaces nothing. The way to a tepal loop is to ask for one (`asyncio.run(main(),
loop_factory=tepal.new_event_loop)`); a policy is for code that makes its loop somewhere we cannot reach, and exists for as
long as Python has policies, which is up to 3.15. What `tepal run` does beyond it is in `_takeover.py`.
"""

from __future__ import annotations

import asyncio
import sys
import warnings

from ._accelerate import accelerate as replace_primitives
from ._loop import new_event_loop


def install(*, accelerate: bool = False) -> None:
    """Make tepal's loop the one that asyncio's event loop policy gives.

    From here on `asyncio.run()`, `asyncio.Runner()`, `asyncio.new_event_loop()` and, where Python still makes a loop on
    the way, `asyncio.get_event_loop()` give a tepal loop in every thread of this process. Loops that exist stay what
    they are. Calling it again changes nothing. Not a checkpoint.

    Args:
        accelerate: Put tepal's primitives into asyncio's namespaces as well, as `accelerated` does, for good.

    Prefer `loop_factory=tepal.new_event_loop`, which says it where the loop is made, or `tepal run`.

    Raises:
        RuntimeError: from Python 3.16 on, which has no policies.
    """
    if sys.version_info >= (3, 16):
        raise RuntimeError(
            "tepal.install() needs event loop policies, which Python 3.16 no longer has: pass"
            " loop_factory=tepal.new_event_loop to asyncio.run() or asyncio.Runner(), or start the program with `tepal run`"
        )
    # From 3.14 on every public name of the policies warns that it will go. Who calls install() has chosen the policy
    # knowing so, and can do nothing about our use of it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        # Derived from the default one, so that all else it does (a loop for each thread, child watchers up to 3.13) stays.
        class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
            """asyncio's own policy, with tepal's loop."""

            def new_event_loop(self) -> asyncio.AbstractEventLoop:
                return new_event_loop()

        EventLoopPolicy.__module__ = "tepal"
        EventLoopPolicy.__qualname__ = "EventLoopPolicy"
        asyncio.set_event_loop_policy(EventLoopPolicy())
    if accelerate:
        replace_primitives()
