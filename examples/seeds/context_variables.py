"""What context variables are for: how long each operation of a request took, the language and the user of a request, and a tracking
id in every line of the log, through tasks, nurseries, threads, callbacks and supervisors, with nothing passed along.

    python examples/seeds/context_variables.py
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import tepal

tracking_id: contextvars.ContextVar[str] = contextvars.ContextVar("tracking_id", default="-")
user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
language: contextvars.ContextVar[str] = contextvars.ContextVar("language", default="en")
timings: contextvars.ContextVar[dict[str, float]] = contextvars.ContextVar("timings")

GREETINGS = {"en": "hello", "de": "hallo", "fr": "bonjour"}

log = logging.getLogger("requests")
_numbers = itertools.count(1)


class WithTrackingId(logging.Filter):
    """Puts the id of the request into every line, whoever writes it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Note the id."""
        record.tracking_id = tracking_id.get()
        return True


@contextmanager
def timed(operation: str) -> Iterator[None]:
    """Note how long a part of the request took, wherever it runs."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        timings.get()[operation] = time.perf_counter() - begun


def greeting() -> str:
    """Greet the user of this request in his language."""
    return f"{GREETINGS[language.get()]}, {user.get()}"


async def query() -> None:
    """A part that waits."""
    with timed("query"):
        await tepal.sleep(0.002)
        log.info("queried for %s", user.get())


def render() -> str:
    """A part that blocks, in a thread."""
    with timed("render"):
        log.info("rendering")
        return greeting()


async def handle(who: str, tongue: str) -> tuple[str, dict[str, float]]:
    """Serve one request: a nursery, a thread, a supervisor and a callback have part in it.

    Args:
        who: The user.
        tongue: The language.

    Returns:
        The answer, and how long each part took.
    """
    tracking_id.set(f"request-{next(_numbers)}")
    user.set(who)
    language.set(tongue)
    timings.set({})
    with timed("all"):
        async with tepal.open_nursery() as nursery:
            nursery.start_soon(query)
            page = await tepal.to_thread.run(render)
        async with tepal.open_supervisor() as sup:
            called = sup.create_future()

            def callback() -> None:
                with timed("callback"):
                    log.info("called back")
                called.set_result(None)

            sup.call_soon(callback)
            sup.create_task(query())
            await called
    return page, timings.get()


async def main() -> None:
    """Serve several requests at once."""
    requests = [("Ada", "en"), ("Emmy", "de"), ("Sophie", "fr")]
    answers = await asyncio.gather(*[asyncio.create_task(handle(*request)) for request in requests])
    for page, took in answers:
        print(page, sorted(took))
    log.info("done")


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(tracking_id)s %(message)s"))
    handler.addFilter(WithTrackingId())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    tepal.run(main)
