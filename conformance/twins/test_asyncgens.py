"""Asynchronous generators: the loop finishes what a program has dropped, and puts the hooks back."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .conftest import Ledger
from .support import LoopFactory, Run, turns


def hooks() -> tuple[object, object]:
    found = sys.get_asyncgen_hooks()
    return found.firstiter, found.finalizer


def test_the_hooks_are_set_while_it_runs_and_restored_after(loop: asyncio.AbstractEventLoop) -> None:
    before = hooks()
    seen: list[tuple[object, object]] = []
    loop.call_soon(lambda: seen.append(hooks()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert None not in seen[0]
    assert hooks() == before


def test_the_hooks_are_restored_to_what_they_were(loop: asyncio.AbstractEventLoop) -> None:
    def firstiter(_generator: object) -> None: ...

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=firstiter)
    try:
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert sys.get_asyncgen_hooks().firstiter is firstiter
    finally:
        sys.set_asyncgen_hooks(*before)


def test_the_hooks_are_restored_after_an_interrupt(loop: asyncio.AbstractEventLoop) -> None:
    before = hooks()

    def interrupt() -> None:
        raise KeyboardInterrupt("made by a test")

    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert hooks() == before


def test_the_hooks_are_restored_when_running_is_refused(loop_factory: LoopFactory) -> None:
    loop, other = loop_factory(), loop_factory()

    async def main() -> None:
        before = hooks()
        with pytest.raises(RuntimeError):
            other.run_forever()
        assert hooks() == before

    loop.run_until_complete(main())
    loop.close()
    other.close()


def test_a_dropped_generator_is_closed(run: Run) -> None:
    async def main() -> None:
        closed = asyncio.Event()

        async def generate() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                closed.set()

        async for _ in generate():
            break
        gc.collect()
        await asyncio.wait_for(closed.wait(), 5)

    run(main)


def test_shutdown_closes_those_that_are_left(loop: asyncio.AbstractEventLoop) -> None:
    closed: list[str] = []

    async def generate(name: str) -> AsyncIterator[str]:
        try:
            yield name
            yield name
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    kept: list[Any] = [generate("a"), generate("b"), generate("never begun")]

    async def main() -> None:
        await anext(kept[0])
        await anext(kept[1])

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(closed) == ["a", "b"]


def test_shutdown_reports_one_that_fails(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context))

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ZeroDivisionError

    generator: Any = generate()

    async def begin() -> None:
        await anext(generator)

    loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = seen
    assert context["message"].startswith("an error occurred during closing of asynchronous generator")
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["asyncgen"] is generator


def test_iterating_after_the_shutdown_warns(loop: asyncio.AbstractEventLoop, ledger: Ledger) -> None:
    async def generate() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        async for _ in generate():
            pass

    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(main())
    assert ledger.take_warnings(ResourceWarning, "was scheduled after loop.shutdown_asyncgens() call")


def test_runner_shuts_generators_down(run: Run) -> None:
    closed: list[int] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await turns(2)
            closed.append(1)

    kept: list[Any] = []

    async def main() -> None:
        kept.append(generate())
        await anext(kept[0])

    run(main)
    assert closed == [1]
