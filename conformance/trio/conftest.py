"""The two libraries under test behind one thin shim, both on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

import tepal

TICK = 0.125
"""How far tepal's clock moves at a time; times in the tests are whole numbers or halves of one."""

TURNS = 40
"""After so many turns of the loop: what happens in fewer happens at one time."""

Main = Callable[[], Awaitable[Any]]


class JumpingLoop(tepal.EventLoop):
    """A loop whose clock moves on with its turns, and with nothing else."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.turns = 0
        super().__init__()

    def time(self) -> float:
        return self.now

    def tick(self) -> None:
        self.turns += 1
        if self.turns % TURNS == 0:
            self.now += TICK
        self.call_soon(self.tick)


def _run_tepal(main: Main, *args: Any) -> Any:
    async def run() -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        loop.tick()
        result = await main(*args)
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0
        assert tepal.current_scope() is None, "a scope was left open"
        return result

    with tepal.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(run())


def _tepal() -> SimpleNamespace:
    async def checkpoint() -> None:
        await tepal.sleep(0)

    async def sleep_forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def sleep_until(deadline: float) -> None:
        await tepal.sleep(deadline - asyncio.get_running_loop().time())

    return SimpleNamespace(
        name="tepal",
        run=_run_tepal,
        checkpoint=checkpoint,
        sleep=tepal.sleep,
        sleep_forever=sleep_forever,
        sleep_until=sleep_until,
        current_time=lambda: asyncio.get_running_loop().time(),
        current_effective_deadline=tepal.current_effective_deadline,
        open_nursery=tepal.open_nursery,
        CancelScope=tepal.CancelScope,
        move_on_after=tepal.move_on_after,
        move_on_at=tepal.move_on_at,
        fail_after=tepal.fail_after,
        fail_at=tepal.fail_at,
        Cancelled=tepal.Cancelled,
        TooSlowError=TimeoutError,
        Event=tepal.Event,
        Lock=tepal.Lock,
        open_channel=tepal.open_channel,
        WouldBlock=tepal.WouldBlock,
        EndOfChannel=tepal.EndOfChannel,
        ClosedResourceError=tepal.ClosedResourceError,
        BrokenResourceError=tepal.BrokenResourceError,
    )


def _trio() -> SimpleNamespace:
    import trio
    import trio.testing

    def run(main: Main, *args: Any) -> Any:
        return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))

    names = [
        *(
            "sleep",
            "sleep_forever",
            "sleep_until",
            "current_time",
            "current_effective_deadline",
            "open_nursery",
            "CancelScope",
        ),
        *(
            "move_on_after",
            "move_on_at",
            "fail_after",
            "fail_at",
            "Cancelled",
            "TooSlowError",
            "Event",
            "Lock",
            "WouldBlock",
        ),
        *("EndOfChannel", "ClosedResourceError", "BrokenResourceError"),
    ]
    return SimpleNamespace(
        name="trio",
        run=run,
        checkpoint=trio.lowlevel.checkpoint,
        open_channel=trio.open_memory_channel,
        **{name: getattr(trio, name) for name in names},
    )


@pytest.fixture(params=["trio", "tepal"])
def kit(request: pytest.FixtureRequest) -> Any:
    """Trio's names, from Trio or from tepal."""
    return _trio() if request.param == "trio" else _tepal()
