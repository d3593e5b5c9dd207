"""call_soon_threadsafe and loops in threads: waking a sleeping loop, from many threads at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time

import pytest

from .support import LoopFactory, Run, eventually


def test_a_sleeping_loop_is_woken(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(60, lambda: None)
    asleep = threading.Event()

    def wake() -> None:
        asleep.wait()
        time.sleep(0.005)  # the loop sits in the poll by now, or wakes at once all the same
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=wake)
    thread.start()
    loop.call_soon(asleep.set)
    began = time.monotonic()
    loop.run_forever()
    assert time.monotonic() - began < 10
    thread.join()


def test_calls_of_one_thread_keep_their_order(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []

    def work() -> None:
        for number in range(1000):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == list(range(1000))


def test_calls_of_many_threads_all_arrive(loop: asyncio.AbstractEventLoop) -> None:
    threads, each, seen = 8, 500, []
    start = threading.Barrier(threads)

    def work(name: int) -> None:
        start.wait()
        for number in range(each):
            loop.call_soon_threadsafe(arrive, name, number)

    def arrive(name: int, number: int) -> None:
        assert threading.get_ident() == home
        seen.append((name, number))
        if len(seen) == threads * each:
            loop.stop()

    home = threading.get_ident()
    workers = [threading.Thread(target=work, args=(name,)) for name in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    for name in range(threads):
        assert [number for who, number in seen if who == name] == list(range(each))


def test_a_call_before_the_loop_runs_is_kept(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(seen.append, 1))
    thread.start()
    thread.join()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_a_call_from_the_loops_own_thread(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()


def test_a_storm_of_wake_ups_is_no_obstacle(loop: asyncio.AbstractEventLoop) -> None:
    # Far more than a socket pair or a pipe of a waker holds unread.
    thread = threading.Thread(target=lambda: [loop.call_soon_threadsafe(int) for _ in range(100_000)])
    loop.call_soon(thread.start)
    loop.call_soon(thread.join)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0.001))


def test_a_cancelled_call_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []

    def work() -> None:
        loop.call_soon_threadsafe(seen.append, 1).cancel()
        loop.call_soon_threadsafe(loop.stop)

    # While the loop waits for this thread, it cannot run the callback before it is cancelled.
    def blocking() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    loop.call_soon(blocking)
    loop.run_forever()
    assert seen == []


@pytest.mark.skipif(sys.version_info < (3, 14), reason="cancel() of a running threadsafe handle blocks since 3.14")
def test_cancel_waits_for_a_callback_that_runs(loop: asyncio.AbstractEventLoop) -> None:
    begun, may_end, events = threading.Event(), threading.Event(), []

    def callback() -> None:
        begun.set()
        may_end.wait()
        events.append("callback ended")

    handle = loop.call_soon_threadsafe(callback)

    def cancel() -> None:
        begun.wait()
        threading.Timer(0.005, may_end.set).start()
        handle.cancel()
        events.append("cancel returned")
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=cancel)
    thread.start()
    loop.run_forever()
    thread.join()
    assert events == ["callback ended", "cancel returned"]


def test_run_coroutine_threadsafe(run: Run) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def work() -> int:
            return asyncio.run_coroutine_threadsafe(double(21), loop).result(10)

        assert await asyncio.to_thread(work) == 42

    run(main)


def test_wrap_future_of_a_thread(run: Run) -> None:
    async def main() -> None:
        future: concurrent.futures.Future[int] = concurrent.futures.Future()
        wrapped = asyncio.wrap_future(future)
        thread = threading.Thread(target=future.set_result, args=(5,))
        thread.start()
        assert await wrapped == 5
        thread.join()

    run(main)


def test_six_loops_in_six_threads(loop_factory: LoopFactory) -> None:
    async def main(name: int) -> int:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            total = 0
            for _ in range(20):
                writer.write(bytes([name]) * 10)
                total += sum(await reader.readexactly(10))
                assert asyncio.get_running_loop() is loop
            writer.close()
            await writer.wait_closed()
            await eventually(lambda: len(asyncio.all_tasks()) == 1)
        return total

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    def work(name: int) -> int:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(main(name))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(1, 7))) == [name * 200 for name in range(1, 7)]


def test_a_loop_may_be_made_here_and_run_there(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    loop.call_soon(seen.append, 1)
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.sleep(0),))
    thread.start()
    thread.join()
    assert seen == [1]
    loop.run_until_complete(asyncio.sleep(0))


def test_a_running_loop_refuses_a_second_thread(loop: asyncio.AbstractEventLoop) -> None:
    errors: list[RuntimeError] = []

    def second() -> None:
        try:
            loop.run_forever()
        except RuntimeError as error:
            errors.append(error)
        finally:
            loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=second)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert str(errors[0]) == "This event loop is already running"
