"""Test classes that end in every way a class can end; `gauge.py` runs them to see that each is told apart.

Not tests of anything: the tested interpreter runs them in the place of a module of CPython's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
import unittest
import warnings


class Passes(unittest.TestCase):
    """Makes a loop and uses it."""

    def test_it(self) -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class Isolated(unittest.IsolatedAsyncioTestCase):
    """The loop is made by unittest."""

    async def test_it(self) -> None:
        await asyncio.sleep(0)


class Named(unittest.TestCase):
    """The loop is made, and known, by the name of the standard class."""

    def test_it(self) -> None:
        loop = asyncio.SelectorEventLoop()
        self.assertIsInstance(loop, asyncio.SelectorEventLoop)
        loop.close()


class Fails(unittest.TestCase):
    """A subtest fails."""

    def test_it(self) -> None:
        with self.subTest("one"):
            self.fail("as it should")


class Litters(unittest.TestCase):
    """A test leaves something in a cycle that warns when it is collected; the next one counts warnings."""

    def test_a(self) -> None:
        class Litter:
            def __init__(self) -> None:
                self.itself = self

            def __del__(self) -> None:
                warnings.warn("unclosed", ResourceWarning, stacklevel=1)

        Litter()

    def test_b(self) -> None:
        with warnings.catch_warnings(record=True) as seen:
            gc.collect()
        self.assertEqual(seen, [])


class Skips(unittest.TestCase):
    """Skipped by a decorator."""

    @unittest.skip("as it should")
    def test_it(self) -> None: ...


class Unprepared(unittest.TestCase):
    """Its setUpClass raises, so no test is started."""

    @classmethod
    def setUpClass(cls) -> None:
        raise ValueError("as it should")

    def test_it(self) -> None: ...


class Hangs(unittest.TestCase):
    """Never comes to its second test."""

    def test_a(self) -> None:
        time.sleep(1000)

    def test_b(self) -> None: ...


class Dies(unittest.TestCase):
    """Takes its process with it."""

    def test_a(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def test_b(self) -> None: ...


class Leaves(unittest.TestCase):
    """Ends its process with success before all is done."""

    def test_a(self) -> None:
        os._exit(0)


class ExitsBadly(unittest.TestCase):
    """All is well until the interpreter ends."""

    def test_it(self) -> None:
        import atexit

        atexit.register(os.abort)


class SlipsBy(unittest.TestCase):
    """Gets at the standard loop behind the back of what stands in its place."""

    def test_it(self) -> None:
        base = asyncio.selector_events.BaseSelectorEventLoop
        standard = next(cls for cls in base.__subclasses__() if cls.__name__ == "_UnixSelectorEventLoop")
        standard().close()
