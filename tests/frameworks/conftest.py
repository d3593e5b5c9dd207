"""What the framework tests share: running on tepal's loop, told of anything that nobody handled."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import tepal

CERTIFICATES = Path(__file__).resolve().parents[1] / "certificates"


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


@pytest.fixture
def server_context() -> ssl.SSLContext:
    """A server's context with the tests' certificate for localhost and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    return context


@pytest.fixture
def client_context() -> ssl.SSLContext:
    """A client's context that trusts the tests' authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATES / "authority.pem")
    return context
