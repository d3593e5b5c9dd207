"""What the robustness tests share: running on tepal's loop, and scripts whose limits are their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tepal


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run a coroutine function on a fresh loop of tepal's."""

    def run(main: Callable[[], Coroutine[Any, Any, Any]], *, debug: bool = False) -> Any:
        with asyncio.Runner(loop_factory=tepal.new_event_loop, debug=debug) as runner:
            return runner.run(main())

    return run
