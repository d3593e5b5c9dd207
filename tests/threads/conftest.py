"""What the thread tests share: every thread's own error fails the test that started it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest


@pytest.fixture
def together() -> Callable[..., None]:
    """Run each function in a thread of its own, all let go at once; raise what any of them raised."""

    def together(*functions: Callable[[], object]) -> None:
        barrier = threading.Barrier(len(functions))
        errors: list[BaseException] = []

        def work(function: Callable[[], object]) -> None:
            barrier.wait()
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the test's own thread
                errors.append(error)

        threads = [threading.Thread(target=work, args=(function,)) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    return together
