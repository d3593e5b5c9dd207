"""What the collection tests share: a loop of tepal's, and patience with the collector."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
import weakref
from collections.abc import Callable, Iterator

import pytest

import tepal


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A fresh loop of tepal's; closed afterwards."""
    loop = tepal.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def collected_with_warning() -> Callable[..., None]:
    """Empty a box, collect, and expect that the loop in it warned and that nothing of it is left.

    A recorded ResourceWarning holds the loop that it is about, so it is looked at and dropped first.
    """

    def collected_with_warning(box: list[object], *refs: weakref.ref[object]) -> None:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            box.clear()
            gc.collect()
        assert any("unclosed event loop" in str(warning.message) for warning in seen), seen
        seen.clear()
        gc.collect()
        assert [ref() for ref in refs] == [None] * len(refs)

    return collected_with_warning


@pytest.fixture
def assert_collected() -> Callable[..., None]:
    """Collect until every weak reference is dead; free-threaded builds clean up later than at once."""

    def assert_collected(*refs: weakref.ref[object]) -> None:
        for attempt in range(10):
            gc.collect()
            if all(ref() is None for ref in refs):
                return
            time.sleep(attempt / 1000)
        alive = [ref() for ref in refs if ref() is not None]
        holders = [type(holder) for thing in alive for holder in gc.get_referrers(thing)]
        raise AssertionError(f"still alive: {alive}, held by {holders}")

    return assert_collected
