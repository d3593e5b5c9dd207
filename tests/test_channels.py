"""What channels have beyond Trio's: asyncio's cancellation, other tasks' loops, and the broadcast."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import tepal


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await tepal.sleep(0)


def test_a_request_that_comes_upon_the_value_gives_it_back() -> None:
    # asyncio can cancel a task that has been woken and has not run: what it was handed is the next again.
    async def main() -> None:
        sender, receiver = tepal.open_channel(0)
        task = asyncio.create_task(receiver.receive())
        await turns()
        sender.send_nowait("first")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert receiver.receive_nowait() == "first"

    tepal.run(main)


def test_what_was_given_back_goes_to_the_next_who_waits() -> None:
    async def main() -> None:
        sender, receiver = tepal.open_channel(0)
        tasks = [asyncio.create_task(receiver.receive()) for _ in range(2)]
        await turns()
        sender.send_nowait("first")
        tasks[0].cancel()
        assert await tasks[1] == "first"

    tepal.run(main)


def test_one_who_was_cancelled_and_has_not_run_is_passed_by() -> None:
    async def main() -> None:
        sender, receiver = tepal.open_channel(0)
        tasks = [asyncio.create_task(receiver.receive()) for _ in range(2)]
        await turns()
        tasks[0].cancel()
        sender.send_nowait("value")
        assert await tasks[1] == "value"
        senders = [asyncio.create_task(sender.send(number)) for number in range(2)]
        await turns()
        senders[0].cancel()
        assert receiver.receive_nowait() == 1
        await turns()
        assert senders[0].cancelled() and senders[1].done()

    tepal.run(main)


def test_a_cycle_through_a_channel_is_collected() -> None:
    class Thing:
        channel: object

    async def main() -> weakref.ref[Thing]:
        sender, receiver = tepal.open_channel(1)
        thing = Thing()
        thing.channel = receiver
        sender.send_nowait(thing)
        return weakref.ref(thing)

    gone = tepal.run(main)
    gc.collect()
    assert gone() is None


def test_a_channel_waits_on_one_loop() -> None:
    sender, receiver = tepal.open_channel(0)

    async def wait() -> None:
        with tepal.move_on_after(0.01):
            await receiver.receive()

    tepal.run(wait)
    with pytest.raises(RuntimeError, match="bound to a different event loop"):
        tepal.run(wait)
    sender.close()


def test_everybody_who_has_subscribed_receives() -> None:
    async def main() -> None:
        seen: dict[str, list[int]] = {}
        broadcast: tepal.Broadcast[int] = tepal.Broadcast()

        async def listen(name: str) -> None:
            async with broadcast.subscribe() as received:
                async for value in received:
                    seen.setdefault(name, []).append(value)

        async with tepal.open_nursery() as nursery:
            with broadcast:
                await broadcast.send(0)
                nursery.start_soon(listen, "one")
                await turns()
                await broadcast.send(1)
                nursery.start_soon(listen, "other")
                await turns()
                assert broadcast.statistics() == tepal.BroadcastStatistics(subscribers=2)
                await broadcast.send(2)
        assert seen == {"one": [1, 2], "other": [2]}

    tepal.run(main)


def test_a_slow_subscriber_slows_the_sender() -> None:
    async def main() -> None:
        broadcast: tepal.Broadcast[int] = tepal.Broadcast(1)
        fast, slow = broadcast.subscribe(), broadcast.subscribe()
        await broadcast.send(1)
        assert fast.receive_nowait() == 1
        with pytest.raises(tepal.WouldBlock):
            broadcast.send_nowait(2)
        with pytest.raises(tepal.WouldBlock):
            fast.receive_nowait()  # to all or to none
        sending = asyncio.create_task(broadcast.send(2))
        await turns()
        assert not sending.done()
        assert slow.receive_nowait() == 1
        await sending
        assert (fast.receive_nowait(), slow.receive_nowait()) == (2, 2)

    tepal.run(main)


def test_a_subscription_may_end() -> None:
    async def main() -> None:
        broadcast: tepal.Broadcast[int] = tepal.Broadcast(1)
        one, other = broadcast.subscribe(), broadcast.subscribe()
        one.close()
        await broadcast.send(1)
        broadcast.send_nowait  # noqa: B018
        assert other.receive_nowait() == 1
        assert broadcast.statistics().subscribers == 1
        broadcast.close()
        with pytest.raises(tepal.EndOfChannel):
            await other.receive()
        for use in (broadcast.subscribe, lambda: broadcast.send_nowait(1)):
            with pytest.raises(tepal.ClosedResourceError):
                use()
        with pytest.raises(tepal.ClosedResourceError):
            await broadcast.send(1)

    tepal.run(main)
