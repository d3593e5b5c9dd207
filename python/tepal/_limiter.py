"""`CapacityLimiter`: so many at a time, and who they are."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from ._channels import WouldBlock


class CapacityLimiterStatistics(NamedTuple):
    """How a `CapacityLimiter` stands."""

    borrowed_tokens: int
    """Tokens that somebody holds."""
    total_tokens: float
    """Tokens that there are."""
    borrowers: tuple[object, ...]
    """Who holds one."""
    tasks_waiting: int
    """Who waits for one."""


class CapacityLimiter:
    """So many tokens, each of which one borrower holds at a time; a semaphore that knows who has what, as Trio's.

    ``async with limiter:`` holds one for the running task. The number may be changed at any time; who holds one keeps it.
    """

    def __init__(self, total_tokens: float) -> None:
        """Make a limiter.

        Args:
            total_tokens: How many tokens there are: a whole number, or `math.inf`.

        Raises:
            TypeError: That is no number of tokens.
            ValueError: It is negative.
        """
        self._borrowers: dict[object, None] = {}
        self._waiting: OrderedDict[object, asyncio.Future[None]] = OrderedDict()
        self._total: float = 0
        self.total_tokens = total_tokens

    @property
    def total_tokens(self) -> float:
        """How many tokens there are; may be changed."""
        return self._total

    @total_tokens.setter
    def total_tokens(self, total: float) -> None:
        if not isinstance(total, int) and total != float("inf"):
            raise TypeError("total_tokens must be an int or math.inf")
        if total < 0:
            raise ValueError("total_tokens must be at least 0")
        self._total = total
        self._grant()

    @property
    def borrowed_tokens(self) -> int:
        """How many are held. Not a checkpoint."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many are left; negative when there are fewer than are held."""
        return self._total - len(self._borrowers)

    def acquire_nowait(self) -> None:
        """Take a token for the running task at once.

        Raises:
            WouldBlock: There is none, or others wait.
            RuntimeError: The task holds one.

        Not a checkpoint.
        """
        self.acquire_on_behalf_of_nowait(_current())

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """As `acquire_nowait`, for anybody.

        Args:
            borrower: Any object that can be hashed.
        """
        self._check(borrower)
        if self._waiting or self.available_tokens < 1:
            raise WouldBlock("no token is left")
        self._borrowers[borrower] = None

    async def acquire(self) -> None:
        """Take a token for the running task, when there is one; first come, first served.

        Raises:
            RuntimeError: The task holds one.

        A checkpoint only if it must wait.
        """
        await self.acquire_on_behalf_of(_current())

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """As `acquire`, for anybody.

        Args:
            borrower: Any object that can be hashed.
        """
        try:
            self.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock:
            pass
        else:
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[borrower] = granted
        try:
            await granted
        except BaseException:
            if self._waiting.pop(borrower, None) is None:
                self.release_on_behalf_of(borrower)  # it was given one in that moment
            raise

    def release(self) -> None:
        """Give the running task's token back.

        Raises:
            RuntimeError: It holds none.

        Not a checkpoint.
        """
        self.release_on_behalf_of(_current())

    def release_on_behalf_of(self, borrower: object) -> None:
        """As `release`, for anybody.

        Args:
            borrower: Who holds one.
        """
        if borrower not in self._borrowers:
            raise RuntimeError("this borrower holds none of this CapacityLimiter's tokens")
        del self._borrowers[borrower]
        self._grant()

    def statistics(self) -> CapacityLimiterStatistics:
        """Return how it stands. Not a checkpoint."""
        return CapacityLimiterStatistics(len(self._borrowers), self._total, tuple(self._borrowers), len(self._waiting))

    async def __aenter__(self) -> None:
        """Take a token. A checkpoint only if it must wait."""
        await self.acquire()

    async def __aexit__(self, *_exception: object) -> None:
        """Give it back. Not a checkpoint."""
        self.release()

    def __repr__(self) -> str:
        """Show how it stands."""
        return f"<tepal.CapacityLimiter {len(self._borrowers)}/{self._total} with {len(self._waiting)} waiting>"

    def _check(self, borrower: object) -> None:
        if borrower in self._borrowers or borrower in self._waiting:
            raise RuntimeError("this borrower holds one of this CapacityLimiter's tokens already, or waits for one")

    def _grant(self) -> None:
        while self.available_tokens >= 1:
            # (One that was cancelled and has not run since takes itself out when it does.)
            waiting = next(((one, granted) for one, granted in self._waiting.items() if not granted.done()), None)
            if waiting is None:
                return
            borrower, granted = waiting
            del self._waiting[borrower]
            self._borrowers[borrower] = None
            granted.set_result(None)


def _current() -> object:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a token is a task's, and none runs here: use the methods that name a borrower")
    return task
