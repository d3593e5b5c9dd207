"""Channels between tasks: their errors, what they say of themselves, and `Broadcast`."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from . import _tepal
from ._tepal import open_channel

T = TypeVar("T")


class ClosedResourceError(Exception):
    """What was to be used was closed, by this program."""


class BrokenResourceError(Exception):
    """What was to be used cannot be used any more, because of somebody else: the other side was closed."""


class EndOfChannel(Exception):
    """Nothing will be received any more: every end that could send was closed, and what was sent was received."""


class WouldBlock(Exception):
    """What was to be done at once would have to wait."""


class ChannelStatistics(NamedTuple):
    """How a channel stands."""

    current_buffer_used: int
    """Values that were sent and not received."""
    max_buffer_size: float
    """How many it holds; `math.inf` for any number."""
    open_send_channels: int
    """Ends that may send."""
    open_receive_channels: int
    """Ends that may receive."""
    tasks_waiting_send: int
    """Tasks that wait for room."""
    tasks_waiting_receive: int
    """Tasks that wait for a value."""


class BroadcastStatistics(NamedTuple):
    """How a `Broadcast` stands."""

    subscribers: int
    """Subscriptions that are open."""


class Broadcast(Generic[T]):
    """One to many: what is sent is received by everybody who has subscribed before.

    ``async with broadcast.subscribe() as received:`` makes ``async for value in received`` receive what is sent from now on. Each
    subscriber has a channel of its own. When one is full, `send` waits for it; so a slow subscriber slows the sender, and nobody
    loses a value. Closing the broadcast ends the subscriptions when what was sent is received.
    """

    def __init__(self, max_buffer_size: float = 0) -> None:
        """Make a broadcast without subscribers.

        Args:
            max_buffer_size: How many values each subscription holds; 0 hands each from task to task, `math.inf` holds any number.

        Raises:
            TypeError: That is no number of values.
            ValueError: It is negative.
        """
        open_channel(max_buffer_size)
        self._max_buffer_size = max_buffer_size
        self._ends: dict[_tepal.SendChannel[T], None] = {}
        self._closed = False

    def subscribe(self) -> _tepal.ReceiveChannel[T]:
        """Subscribe to what is sent from now on.

        Returns:
            The end of a channel, open as long as it is not closed.

        Raises:
            ClosedResourceError: The broadcast was closed.

        Not a checkpoint.
        """
        self._check_open()
        sender, receiver = open_channel(self._max_buffer_size)
        self._ends[sender] = None
        return receiver

    async def send(self, value: T) -> None:
        """Send a value to every subscriber, in the order in which they have subscribed.

        Args:
            value: Any object.

        Raises:
            ClosedResourceError: The broadcast was closed.

        A checkpoint only if it must wait. Who is cancelled meanwhile has sent it to some and not to others.
        """
        self._check_open()
        for end in list(self._ends):
            try:
                await end.send(value)
            except BrokenResourceError:
                self._leave(end)
            except ClosedResourceError:
                self._check_open()

    def send_nowait(self, value: T) -> None:
        """Send a value to every subscriber at once, or to none.

        Args:
            value: Any object.

        Raises:
            WouldBlock: A subscriber has no room, and does not wait for it.
            ClosedResourceError: The broadcast was closed.

        Not a checkpoint.
        """
        self._check_open()
        ready = []
        for end in list(self._ends):
            stands = end.statistics()
            if stands.open_receive_channels == 0:
                self._leave(end)
            elif stands.current_buffer_used < stands.max_buffer_size or stands.tasks_waiting_receive:
                ready.append(end)
            else:
                raise WouldBlock("a subscriber has no room")
        for end in ready:
            end.send_nowait(value)

    def close(self) -> None:
        """Send nothing any more; closing again does nothing. Not a checkpoint."""
        self._closed = True
        for end in list(self._ends):
            self._leave(end)

    def statistics(self) -> BroadcastStatistics:
        """Return how it stands. Not a checkpoint."""
        return BroadcastStatistics(sum(end.statistics().open_receive_channels > 0 for end in self._ends))

    def _leave(self, end: _tepal.SendChannel[T]) -> None:
        self._ends.pop(end, None)
        end.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedResourceError("the broadcast was closed")

    def __enter__(self) -> Broadcast[T]:
        """Close it at the end of a block. Not a checkpoint."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close it. Not a checkpoint."""
        self.close()
