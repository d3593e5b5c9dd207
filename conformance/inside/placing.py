"""Puts a loop of our choice where the standard one stands, in this process only.

In place means: whatever name of the standard library a test makes its loop by, it gets ours, an instance of exactly
the class that users get. The names are those listed in `put_in_place`. Two counters keep this honest: loops of ours, and
loops of the standard class that slipped by all the same.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.unix_events
import functools
import importlib
from collections.abc import Callable
from typing import Any

STANDARD: Any = asyncio.unix_events._UnixSelectorEventLoop
"""Held, because nothing else does once ours is in place, and a class that is collected makes no loop to be counted."""


class Ledger:
    """How many loops of which kind were made in this process."""

    ours = 0
    standard = 0


def place(loop: str, *, base: bool = False) -> None:
    """Put the named loop in place and count from here on; of asyncio's own, only count.

    Args:
        loop: `asyncio`, or the name of a package with `new_event_loop`.
        base: Let `asyncio.BaseEventLoop`, too, make a loop. CPython's tests call it; others derive from it or ask for
            instances of it, and ours is one.
    """
    if loop == "asyncio":
        count_standard_loops(as_ours=True)
    else:
        count_standard_loops(as_ours=False)
        put_in_place(loop, base=base)


def count_standard_loops(*, as_ours: bool) -> None:
    begin = STANDARD.__init__

    @functools.wraps(begin)
    def counted(self: object, *args: object, **kwargs: object) -> None:
        if as_ours:
            Ledger.ours += 1
        else:
            Ledger.standard += 1
        begin(self, *args, **kwargs)

    STANDARD.__init__ = counted


class InPlace(type):
    """The type of the class that stands where a class of the standard library stood.

    Called, it makes a loop of ours; the selector that some tests hand over is of no use to it. For `isinstance` it is our
    loop class. It is not a subclass of that class on purpose: the tests should see the very class that users get. Who derives
    from it derives from that class, too.
    """

    make: Callable[[], asyncio.AbstractEventLoop]
    loop_class: type

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        if not any(isinstance(base, InPlace) for base in bases):
            return super().__new__(cls, name, bases, namespace)
        real = tuple(base.loop_class if isinstance(base, InPlace) else base for base in bases)
        return type(real[0])(name, real, namespace)

    def __call__(cls, selector: object = None) -> Any:
        loop = cls.make()
        assert isinstance(loop, cls.loop_class)
        return loop

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.loop_class)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.loop_class)


def put_in_place(loop: str, *, base: bool) -> None:
    """Let every name that the tests make a loop by make ours."""
    ours = importlib.import_module(loop)
    loop_class = ours.EventLoop if hasattr(ours, "EventLoop") else ours.Loop
    begin = loop_class.__init__

    @functools.wraps(begin)
    def counted(self: object, *args: object, **kwargs: object) -> None:
        Ledger.ours += 1
        begin(self, *args, **kwargs)

    loop_class.__init__ = counted
    make = staticmethod(ours.new_event_loop)
    standing = InPlace("SelectorEventLoop", (), {"make": make, "loop_class": loop_class})

    unix = asyncio.unix_events
    policies = [value for value in vars(unix).values() if isinstance(value, type) and "_loop_factory" in vars(value)]
    # asyncio.new_event_loop(), asyncio.run(), asyncio.Runner() and IsolatedAsyncioTestCase all ask the policy (until
    # 3.15), and a policy set to None by a module's teardown is made anew from the class, so the class is what changes.
    for policy in policies:
        policy._loop_factory = standing  # type: ignore[attr-defined]
    for module in (unix, asyncio):
        for name in ("_UnixSelectorEventLoop", "SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, standing)
    if base:
        # test_runners and test_pep492 build their loops from asyncio.BaseEventLoop and fill in the parts it lacks.
        # asyncio.base_events.BaseEventLoop stays: it is a base class there, ours included.
        asyncio.BaseEventLoop = standing  # type: ignore[misc,assignment]
