"""Stands where uvloop's compiled half stood: its `Loop` is the loop that the runner asks for.

uvloop's Python half (its policy, its `run`) and its test base are its own. What only libuv has is not here, and tests that import
it are excluded.
"""

import asyncio
import json
import os

_WANTED = json.loads(os.environ["CONFORMANCE"])["loop"]

if _WANTED == "asyncio":
    from asyncio.unix_events import _UnixSelectorEventLoop as Loop

    if hasattr(asyncio, "get_child_watcher"):
        # Up to 3.13 asyncio's own loop takes a watcher of children from the policy, and uvloop's policy has none.
        _policy = asyncio.DefaultEventLoopPolicy()
        asyncio.AbstractEventLoopPolicy.get_child_watcher = lambda self: _policy.get_child_watcher()
else:
    from tepal import EventLoop as Loop

__all__ = ["Loop", "asyncio"]
