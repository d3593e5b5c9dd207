"""Channels between tasks."""

from __future__ import annotations

import math
from typing import Any

import pytest


@pytest.mark.parametrize("size", [0, 1, 3, math.inf])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_values_arrive_in_order(kit: Any, size: float, count: int) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(size)
        seen = []

        async def receive() -> None:
            async for value in receiver:
                seen.append(value)

        async with kit.open_nursery() as nursery:
            nursery.start_soon(receive)
            async with sender:
                for number in range(count):
                    await sender.send(number)
        assert seen == list(range(count))

    kit.run(main)


@pytest.mark.parametrize("size", [0, 2])
def test_what_would_block(kit: Any, size: int) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(size)
        with pytest.raises(kit.WouldBlock):
            receiver.receive_nowait()
        for number in range(size):
            sender.send_nowait(number)
        with pytest.raises(kit.WouldBlock):
            sender.send_nowait("one too many")
        assert [receiver.receive_nowait() for _ in range(size)] == list(range(size))

    kit.run(main)


def test_one_who_waits_is_handed_the_value(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(0)
        seen = []

        async def receive() -> None:
            seen.append(await receiver.receive())

        async with kit.open_nursery() as nursery:
            nursery.start_soon(receive)
            await kit.sleep(1)
            assert sender.statistics().tasks_waiting_receive == 1
            sender.send_nowait("value")
        assert seen == ["value"]

    kit.run(main)


def test_one_who_waits_for_room_has_his_value_taken(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(1)

        async def send() -> None:
            for number in range(3):
                await sender.send(number)

        async with kit.open_nursery() as nursery:
            nursery.start_soon(send)
            await kit.sleep(1)
            assert sender.statistics().tasks_waiting_send == 1
            assert receiver.receive_nowait() == 0
            await kit.sleep(1)
            assert [receiver.receive_nowait(), receiver.receive_nowait()] == [1, 2]

    kit.run(main)


def test_clones_keep_a_side_open(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(5)
        other = sender.clone()
        sender.close()
        other.send_nowait(1)
        with pytest.raises(kit.ClosedResourceError):
            sender.send_nowait(2)
        with pytest.raises(kit.ClosedResourceError):
            await sender.send(2)
        with pytest.raises(kit.ClosedResourceError):
            sender.clone()
        other.close()
        assert await receiver.receive() == 1
        with pytest.raises(kit.EndOfChannel):
            await receiver.receive()
        with pytest.raises(kit.EndOfChannel):
            receiver.receive_nowait()

    kit.run(main)


def test_nobody_to_receive(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(5)
        other = receiver.clone()
        receiver.close()
        sender.send_nowait(1)
        other.close()
        with pytest.raises(kit.BrokenResourceError):
            sender.send_nowait(2)
        with pytest.raises(kit.BrokenResourceError):
            await sender.send(2)
        for end in (receiver, other):
            with pytest.raises(kit.ClosedResourceError):
                end.receive_nowait()
            with pytest.raises(kit.ClosedResourceError):
                await end.receive()

    kit.run(main)


@pytest.mark.parametrize("way", ["last sender", "own end"])
def test_closing_under_one_who_receives(kit: Any, way: str) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(0)
        expected = kit.EndOfChannel if way == "last sender" else kit.ClosedResourceError

        async def receive() -> None:
            with pytest.raises(expected):
                await receiver.receive()

        async with kit.open_nursery() as nursery:
            nursery.start_soon(receive)
            await kit.sleep(1)
            (sender if way == "last sender" else receiver).close()

    kit.run(main)


@pytest.mark.parametrize("way", ["last receiver", "own end"])
def test_closing_under_one_who_sends(kit: Any, way: str) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(0)
        expected = kit.BrokenResourceError if way == "last receiver" else kit.ClosedResourceError

        async def send() -> None:
            with pytest.raises(expected):
                await sender.send(1)

        async with kit.open_nursery() as nursery:
            nursery.start_soon(send)
            await kit.sleep(1)
            (receiver if way == "last receiver" else sender).close()

    kit.run(main)


def test_closing_a_clone_leaves_the_others_alone(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(0)
        other = receiver.clone()
        seen = []

        async def receive() -> None:
            seen.append(await receiver.receive())

        async with kit.open_nursery() as nursery:
            nursery.start_soon(receive)
            await kit.sleep(1)
            other.close()
            sender.clone().close()
            await sender.send("value")
        assert seen == ["value"]

    kit.run(main)


def test_a_receiver_that_is_cancelled_receives_nothing(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(1)
        with kit.move_on_after(1) as scope:
            await receiver.receive()
        assert scope.cancelled_caught
        assert sender.statistics().tasks_waiting_receive == 0
        sender.send_nowait("value")
        assert receiver.receive_nowait() == "value"

    kit.run(main)


def test_a_sender_that_is_cancelled_sends_nothing(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(0)
        with kit.move_on_after(1) as scope:
            await sender.send("value")
        assert scope.cancelled_caught
        with pytest.raises(kit.WouldBlock):
            receiver.receive_nowait()

    kit.run(main)


def test_a_value_and_a_cancellation_at_once(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(0)
        seen = []
        async with kit.open_nursery() as nursery:
            scope = kit.CancelScope()

            async def receive() -> None:
                with scope:
                    seen.append(await receiver.receive())

            nursery.start_soon(receive)
            await kit.sleep(1)
            sender.send_nowait("value")
            scope.cancel()
        assert seen == ["value"]

    kit.run(main)


def test_many_senders_and_receivers(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(2)
        seen: list[int] = []

        async def send(end: Any, numbers: range) -> None:
            async with end:
                for number in numbers:
                    await end.send(number)

        async def receive(end: Any) -> None:
            async with end:
                async for number in end:
                    seen.append(number)
                    await kit.checkpoint()

        async with kit.open_nursery() as nursery:
            async with sender, receiver:
                for index in range(4):
                    nursery.start_soon(send, sender.clone(), range(index * 10, index * 10 + 10))
                    nursery.start_soon(receive, receiver.clone())
        assert sorted(seen) == list(range(40))

    kit.run(main)


def test_statistics(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(3)
        sender.send_nowait(1)
        sender.clone()
        stands = receiver.statistics()
        assert stands.current_buffer_used == 1
        assert stands.max_buffer_size == 3
        assert stands.open_send_channels == 2
        assert stands.open_receive_channels == 1
        assert stands.tasks_waiting_send == 0
        assert stands.tasks_waiting_receive == 0
        assert kit.open_channel(math.inf)[0].statistics().max_buffer_size == math.inf

    kit.run(main)


@pytest.mark.parametrize(("wrong", "error"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError), (None, TypeError)])
def test_sizes_that_are_none(kit: Any, wrong: Any, error: type[Exception]) -> None:
    async def main() -> None:
        with pytest.raises(error):
            kit.open_channel(wrong)

    kit.run(main)


def test_closing_twice(kit: Any) -> None:
    async def main() -> None:
        sender, receiver = kit.open_channel(0)
        for end in (sender, receiver):
            end.close()
            end.close()
            await end.aclose()

    kit.run(main)
