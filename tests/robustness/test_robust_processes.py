"""Children in every state: killed at every moment, five hundred at once, collected by others, left behind at the exit."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tepal

Run = Callable[..., Any]
Python = Callable[..., Any]

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def no_child_is_left() -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture(params=["pidfd", "no pidfd", "pidfd forbidden"])
def exits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Kernels with and without pidfds."""

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EPERM, "as some sandboxes do")

    if request.param == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open")
    elif request.param == "pidfd forbidden":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    return str(request.param)


@pytest.mark.slow(limit=120)
def test_five_hundred_children_that_end_together(run: Run, exits: str) -> None:
    near, far = os.pipe()

    async def child(number: int) -> int:
        script = f"read line </dev/fd/{near}; exit {number % 200}"
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, pass_fds=(near,), stdin=near)
        started.append(number)
        if len(started) == 500:
            os.close(far)  # all of them read the end at once
        return await process.wait()

    async def main() -> None:
        codes = await asyncio.gather(*(child(number) for number in range(500)))
        assert codes == [number % 200 for number in range(500)]

    started: list[int] = []
    before = descriptors()
    run(main)
    assert descriptors() == before - 1
    os.close(near)
    no_child_is_left()


@pytest.mark.slow(limit=120)
def test_a_thousand_children_in_a_row_leave_nothing(run: Run) -> None:
    async def main() -> None:
        async def children(count: int) -> None:
            for _ in range(count):
                process = await asyncio.create_subprocess_exec("true", **PIPES)
                await process.communicate(b"x")

        await children(10)
        gc.collect()
        before = descriptors()
        await children(1000)
        gc.collect()
        assert descriptors() == before

    run(main)
    no_child_is_left()


@pytest.mark.parametrize("turns", range(12))
def test_killed_before_and_after_its_pipes_are_connected(run: Run, exits: str, turns: int) -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.create_subprocess_exec("sleep", "60", **PIPES))
        await asyncio.sleep(0)
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        for _ in range(turns):
            await asyncio.sleep(0)
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        process = await task
        assert children == [str(process.pid)]
        assert await process.communicate(b"x") == (b"", b"")
        assert process.returncode == -signal.SIGKILL

    run(main)
    no_child_is_left()


def test_killed_while_we_write_and_read(run: Run, exits: str) -> None:
    async def main() -> None:
        writing = await asyncio.create_subprocess_exec("sleep", "60", **PIPES)
        assert writing.stdin is not None
        writing.stdin.write(b"x" * 1_000_000)
        drain = asyncio.create_task(writing.stdin.drain())
        await asyncio.sleep(0)
        assert not drain.done()
        writing.kill()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await drain
        assert await writing.wait() == -signal.SIGKILL

        reading = await asyncio.create_subprocess_exec("cat", "/dev/zero", stdout=subprocess.PIPE)
        assert reading.stdout is not None
        await reading.stdout.readexactly(300_000)
        reading.kill()
        while await reading.stdout.read(1 << 16):
            pass
        assert await reading.wait() == -signal.SIGKILL

    run(main)
    no_child_is_left()


def test_killed_after_it_has_ended_and_before_it_was_collected(run: Run, exits: str) -> None:
    async def main() -> None:
        near, far = os.pipe()
        process = await asyncio.create_subprocess_exec("cat", stdin=near, stdout=subprocess.DEVNULL)
        os.close(near)
        os.close(far)
        # It has ended, and the loop, which does not run meanwhile, cannot know yet.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
        process.kill()
        assert await process.wait() == 0

    run(main)
    no_child_is_left()


def test_no_signal_is_sent_to_a_number_that_was_collected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        near, far = os.pipe()
        script = f"(read line </dev/fd/{near} &) ; exit 0"  # the grandchild keeps the pipe open until we let it go
        process = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=subprocess.PIPE, pass_fds=(near,))
        transport: Any = process._transport  # type: ignore[attr-defined]
        while transport.get_returncode() is None:  # noqa: ASYNC110 - nobody tells while the pipe is open
            await asyncio.sleep(0)
        # The pipe is still open, so the transport lives; the process is no more.
        monkeypatch.setattr(os, "kill", pytest.fail)
        monkeypatch.setattr(signal, "pidfd_send_signal", pytest.fail)
        for method in (process.kill, process.terminate, transport.get_extra_info("subprocess").kill):
            method()
        process.send_signal(signal.SIGHUP)
        monkeypatch.undo()
        os.close(far)
        os.close(near)
        await process.wait()
        transport.close()

    run(main)


def test_a_child_that_its_popen_has_collected_is_reported_truly(run: Run, exits: str) -> None:
    # asyncio says 255 here; the status is known, so we say it.
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "read line; exit 7", stdin=subprocess.PIPE)
        popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
        os.write(popen.stdin.fileno(), b"go\n")
        assert popen.wait() == 7
        assert await process.wait() == 7

    run(main)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sigchld_is_ignored(run: Run, exits: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 255

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        run(main)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "exit status already read" in caplog.text


def test_a_child_that_cannot_be_watched_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        before = descriptors()
        with pytest.raises(RuntimeError, match="thread"):
            await asyncio.create_subprocess_exec("sleep", "60", **PIPES)
        assert descriptors() == before

    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    run(main)
    no_child_is_left()


def test_a_storm_of_sigchld(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told = 0

        def handle() -> None:
            nonlocal told
            told += 1

        async def child(number: int) -> None:
            process = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"kill -CHLD $PPID; exit {number}")
            assert await process.wait() == number

        loop.add_signal_handler(signal.SIGCHLD, handle)
        await asyncio.gather(*(child(number) for number in range(100)))
        loop.remove_signal_handler(signal.SIGCHLD)
        assert told > 0

    run(main)
    no_child_is_left()


def test_no_descriptor_is_left_for_a_child(python: Python) -> None:
    program = """
import asyncio, os, resource, subprocess, tepal

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    for free in range(12):
        before = len(os.listdir("/proc/self/fd")) if free else 0
        try:
            process = await asyncio.create_subprocess_exec("true", stdin=-1, stdout=-1, stderr=-1)
        except OSError as error:
            assert error.errno == 24, error
        else:
            await process.communicate(b"x")
        if free:
            assert len(os.listdir("/proc/self/fd")) == before, free
        os.close(held.pop())
    print("survived")

tepal.run(main())
"""
    ended = python("-W", "error", "-c", program)
    assert (ended.stdout, ended.stderr) == ("survived\n", "")


def test_the_interpreter_ends_with_everything_open(python: Python) -> None:
    program = """
import asyncio, os, subprocess, sys, tepal

loop = tepal.new_event_loop()

async def main():
    global kept
    near, far = os.pipe()
    process = await asyncio.create_subprocess_exec("sleep", "60", stdin=-1, stdout=-1)
    process.stdin.write(b"x" * 1_000_000)
    reading = await loop.connect_read_pipe(asyncio.Protocol, open(near, "rb", 0))
    writing = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, open(far, "wb", 0))
    kept = [process, reading, writing]
    kept.append(kept)
    print(process.pid)

loop.run_until_complete(main())
if sys.argv[1] == "closed":
    loop.close()
"""
    for how in ("open", "closed"):
        ended = python("-c", program, how)
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        pid = int(ended.stdout)
        try:
            os.kill(pid, signal.SIGKILL)  # an interpreter that ends need not collect everything
        except ProcessLookupError:
            pass


def test_a_loop_that_is_closed_while_a_thread_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    loop = tepal.new_event_loop()

    async def main() -> Any:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        return process._transport  # type: ignore[attr-defined]

    transport = loop.run_until_complete(main())
    waiting = next(thread for thread in threading.enumerate() if str(transport.get_pid()) in thread.name)
    loop.close()
    os.kill(transport.get_pid(), signal.SIGKILL)
    waiting.join()
    assert "is closed" in caplog.text
    transport.close()
    no_child_is_left()


def test_other_threads_go_on_while_a_child_is_started(run: Run) -> None:
    """The lock of the interpreter is not held: a script that stops until another thread lets it go on can be started."""

    async def main() -> None:
        codes = await asyncio.gather(*(_in_thread(number) for number in range(8)))
        assert codes == list(range(8))

    async def _in_thread(number: int) -> int:
        def work() -> int:
            async def one() -> int:
                process = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"exit {number}")
                return await process.wait()

            return tepal.run(one())

        return await asyncio.to_thread(work)

    run(main)
    no_child_is_left()
