"""What the framework tests share: running on tepal's loop, told of anything that nobody handled."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tepal


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """Run a coroutine function on tepal; nothing may be logged as an error, and no descriptor may stay open."""

    def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        before = len(os.listdir("/proc/self/fd"))
        with asyncio.Runner(loop_factory=tepal.new_event_loop) as runner:
            result = runner.run(main())
        gc.collect()
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
        assert len(os.listdir("/proc/self/fd")) == before
        return result

    return run
