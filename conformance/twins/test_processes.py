"""Subprocesses: arguments, the order of what a protocol is told, signals, ends of every kind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from .conftest import Ledger
from .support import LoopFactory, Run, eventually, turns
from .test_fork import forked

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT

SHELL = "/bin/sh"


class Notes(asyncio.SubprocessProtocol):
    """Writes down what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.data = {1: bytearray(), 2: bytearray()}
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.exited = asyncio.Event()
        self.pipes_lost: dict[int, BaseException | None] = {}
        self.more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.data[fd] += data
        self.events.append(("data", fd))
        self.more.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.pipes_lost[fd] = exc
        self.events.append(("pipe lost", fd))

    def process_exited(self) -> None:
        self.events.append("exited")
        self.exited.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)


async def start(script: str, **arguments: Any) -> tuple[Any, Notes]:
    loop = asyncio.get_running_loop()
    return await loop.subprocess_exec(Notes, SHELL, "-c", script, **arguments)


async def output(*command: Any, **arguments: Any) -> str:
    """Run a program to its end and return what it printed."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, **arguments)
    text, _ = await process.communicate()
    assert process.returncode == 0, text
    return text.decode()


def test_what_a_child_prints_and_how_it_ends(run: Run) -> None:
    async def main() -> None:
        transport, protocol = await start("cat; echo wrong >&2; exit 3")
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert protocol.events == ["made"]
        assert protocol.transport is transport
        assert transport.get_protocol() is protocol
        pid = transport.get_pid()
        assert transport.get_extra_info("subprocess").pid == pid
        assert transport.get_returncode() is None
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert transport.get_pipe_transport(3) is None
        stdin.write(b"right")
        stdin.write_eof()
        assert await protocol.lost is None
        assert (protocol.data[1], protocol.data[2]) == (b"right", b"wrong\n")
        assert transport.get_returncode() == 3
        assert await transport._wait() == 3
        events = protocol.events
        for fd in (1, 2):
            assert events.index(("data", fd)) < events.index(("pipe lost", fd))
        assert events[0] == "made"
        assert events[-1] == "lost"
        assert {"exited", ("pipe lost", 0)} <= set(events)
        assert len(events) == 8
        transport.close()

    run(main)


def test_only_pipes_have_transports(run: Run) -> None:
    async def main() -> None:
        transport, protocol = await start("exit 0", stdin=None, stdout=DEVNULL, stderr=STDOUT)
        assert [transport.get_pipe_transport(fd) for fd in range(3)] == [None] * 3
        await protocol.lost
        assert protocol.events == ["made", "exited", "lost"]
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()

    run(main)


@pytest.mark.parametrize(
    ("method", "arguments", "keywords"),
    [
        ("subprocess_shell", (["list"],), {}),
        ("subprocess_shell", ("true",), {"shell": False}),
        ("subprocess_exec", ("true",), {"shell": True}),
        *(
            (method, ("true",), keywords)
            for method in ("subprocess_exec", "subprocess_shell")
            for keywords in (
                {"universal_newlines": True},
                {"bufsize": 4096},
                {"text": True},
                {"encoding": "ascii"},
                {"errors": "strict"},
            )
        ),
    ],
)
def test_arguments_are_checked_before_anything_is_made(
    run: Run, method: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    async def main() -> str:
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="must be") as refused:
            await getattr(loop, method)(pytest.fail, *arguments, **keywords)
        return str(refused.value)

    run(main)


FAILURES: dict[str, tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]] = {
    "no program": (FileNotFoundError, ("/nowhere/program",), {}),
    "no program on the path": (FileNotFoundError, ("no-such-program-anywhere",), {}),
    "no program, bytes": (FileNotFoundError, (b"/nowhere/program",), {}),
    "no program, path": (FileNotFoundError, (Path("/nowhere/program"),), {}),
    "forbidden": (PermissionError, ("/etc/passwd",), {}),
    "a folder": (PermissionError, ("/etc",), {}),
    "under a file": (NotADirectoryError, ("/etc/passwd/program",), {}),
    "no directory": (FileNotFoundError, ("true",), {"cwd": "/nowhere"}),
    "a directory that is a file": (NotADirectoryError, ("true",), {"cwd": "/etc/passwd"}),
    "executable": (FileNotFoundError, ("true",), {"executable": "/nowhere/other"}),
    "not text": (TypeError, (5,), {}),
    "not text in arguments": (TypeError, ("true", 5), {}),
    "null": (ValueError, ("true", "a\0b"), {}),
    "null in program": (ValueError, ("tr\0ue",), {}),
    "null in directory": (ValueError, ("true",), {"cwd": "/\0"}),
    "null in environment": (ValueError, ("true",), {"env": {"A": "\0"}}),
    "equals in a name": (ValueError, ("true",), {"env": {"A=B": "C"}}),
    "environment": (TypeError, ("true",), {"env": {1: 2}}),
    "closed descriptor": (OSError, ("true",), {"pass_fds": (9999,)}),
    "negative descriptor": (ValueError, ("true",), {"pass_fds": (-5,)}),
    "bad stdin": (OSError, ("true",), {"stdin": 9999}),
    "group of processes": (PermissionError, ("true",), {"process_group": 1}),
    "session and group": (PermissionError, ("true",), {"process_group": 0, "start_new_session": True}),
    "startupinfo": (ValueError, ("true",), {"startupinfo": object()}),
    "creationflags": (ValueError, ("true",), {"creationflags": 1}),
    "unknown user": (KeyError, ("true",), {"user": "nobody-of-that-name"}),
    "unknown argument": (TypeError, ("true",), {"no_such_argument": 1}),
    "preexec": (subprocess.SubprocessError, ("true",), {"preexec_fn": lambda: 1 / 0}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_started(run: Run, name: str) -> None:
    kind, command, keywords = FAILURES[name]

    def facts(error: BaseException) -> tuple[Any, ...]:
        filename = getattr(error, "filename", None)  # some Pythons leave a Path, some make it a str
        text = getattr(error, "strerror", None) or str(error)
        return type(error), getattr(error, "errno", None), text, filename and os.fspath(filename)

    async def main() -> tuple[Any, ...]:
        made: list[Notes] = []

        def factory() -> Notes:
            made.append(Notes())
            return made[0]

        with pytest.raises(kind) as raised:
            await asyncio.get_running_loop().subprocess_exec(factory, *command, **keywords)
        await turns()
        assert made[0].events == []
        return facts(raised.value)

    # No child is left behind, and no descriptor (the ledger looks).
    found = run(main)
    with pytest.raises(kind) as raised:
        subprocess.Popen(command, **{"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, "bufsize": 0, **keywords})
    assert found == facts(raised.value)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_programs_and_arguments_of_every_kind(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho script $1\n")
    script.chmod(0o755)

    async def main() -> None:
        assert await output(str(script), "str") == "script str\n"
        assert await output(os.fsencode(script), b"bytes") == "script bytes\n"
        assert await output(script, Path("path")) == "script path\n"
        assert await output("printf", "%s", "grün") == "grün"
        assert await output("zero", "-c", "echo $0 $1", "nought", "one", executable=SHELL) == "nought one\n"
        process = await asyncio.create_subprocess_shell("echo out; exit 4", stdout=PIPE)
        assert await process.communicate() == (b"out\n", None)
        assert process.returncode == 4
        process = await asyncio.create_subprocess_shell(b"exit 5")
        assert await process.wait() == 5

    run(main)


def test_a_program_is_looked_for_on_the_path_of_its_environment(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "only-here"
    script.write_text("#!/bin/sh\necho found\n")
    script.chmod(0o755)

    async def main() -> None:
        path = f"/nowhere:{tmp_path}:{os.environ['PATH']}"
        assert await output("only-here", env={"PATH": path}) == "found\n"
        script.chmod(0o644)
        with pytest.raises(PermissionError):
            await output("only-here", env={"PATH": path})

    run(main)


def test_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_PARENT", "yes")

    async def main() -> None:
        assert "FROM_THE_PARENT=yes" in (await output("/usr/bin/env")).splitlines()
        assert await output("/usr/bin/env", env={}) == ""
        assert await output("/usr/bin/env", env={"ONLY": "this"}) == "ONLY=this\n"
        assert await output("/usr/bin/env", env={b"ONLY": b"that"}) == "ONLY=that\n"

    run(main)


def test_the_surroundings(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        assert await output("pwd", cwd=tmp_path) == f"{tmp_path}\n"
        assert await output("pwd", cwd=os.fsencode(tmp_path)) == f"{tmp_path}\n"
        assert await output(SHELL, "-c", "umask", umask=0o27) == "0027\n"
        python = "import os; print(os.getpid(), os.getpgid(0), os.getsid(0))"
        pid, group, session = (await output(sys.executable, "-c", python)).split()
        assert pid not in (group, session)
        pid, group, session = (await output(sys.executable, "-c", python, start_new_session=True)).split()
        assert pid == group == session
        pid, group, session = (await output(sys.executable, "-c", python, process_group=0)).split()
        assert pid == group != session

    run(main)


def test_signals_have_their_default_action_in_the_child(run: Run) -> None:
    # Bits of SigIgn: Python ignores SIGPIPE (13) and SIGXFSZ (25) for itself; our own handlers must not be inherited.
    ignored = (1 << 12) | (1 << 24)

    async def bits(name: str, **arguments: Any) -> int:
        text = await output("cat", "/proc/self/status", **arguments)
        return int(next(line for line in text.splitlines() if line.startswith(name)).split()[1], 16)

    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
        assert await bits("SigIgn") & ignored == 0
        assert await bits("SigIgn", restore_signals=False) & ignored == ignored
        assert await bits("SigCgt") == 0
        assert await bits("SigBlk") == 0
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        try:
            assert await bits("SigBlk") == 1 << (signal.SIGUSR2 - 1)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])

    run(main)


def test_which_descriptors_are_inherited(run: Run) -> None:
    async def descriptors(**arguments: Any) -> set[int]:
        text = await output("ls", "/proc/self/fd", **arguments)
        return {int(line) for line in text.split()}

    async def main() -> None:
        near, far = os.pipe()
        inheritable = os.dup(near)
        os.set_inheritable(inheritable, True)
        high = os.dup2(far, 900, inheritable=True)
        try:
            # ls itself has one open, the lowest that is free.
            assert await descriptors() == {0, 1, 2, 3}
            assert await descriptors(pass_fds=(far,)) >= {0, 1, 2, far}
            assert (await descriptors(pass_fds=(far, high))).isdisjoint({near, inheritable})
            assert await descriptors(pass_fds=(high, far, high)) >= {far, high}
            assert not os.get_inheritable(far)
            everything = await descriptors(close_fds=False)
            assert {inheritable, high} <= everything
            assert near not in everything
        finally:
            for fd in (near, far, inheritable, high):
                os.close(fd)

    run(main)


def test_pass_fds_win_over_close_fds(run: Run) -> None:
    async def main() -> None:
        near, far = os.pipe()
        with pytest.warns(RuntimeWarning, match="pass_fds overriding"):
            assert await output(SHELL, "-c", f"echo hi >/dev/fd/{far}", pass_fds=(far,), close_fds=False) == ""
        assert os.read(near, 10) == b"hi\n"
        os.close(near)
        os.close(far)

    run(main)


def test_standard_streams_from_files_and_numbers(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"from a file")
        with path.open("rb") as source, (tmp_path / "copy").open("wb") as target:
            process = await asyncio.create_subprocess_exec("cat", stdin=source, stdout=target.fileno())
            assert await process.wait() == 0
        assert (tmp_path / "copy").read_bytes() == b"from a file"
        process = await asyncio.create_subprocess_shell("echo out; echo err >&2", stdout=PIPE, stderr=STDOUT)
        assert await process.communicate() == (b"out\nerr\n", None)

    run(main)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_a_parent_whose_own_standard_streams_are_closed(loop_factory: LoopFactory, closed: tuple[int, ...]) -> None:
    # Then the pipes get the numbers 0 to 2, and the child's must not overwrite each other.
    def child() -> None:
        for fd in closed:
            os.close(fd)

        async def main() -> None:
            script = "cat; echo err >&2"
            process = await asyncio.create_subprocess_shell(script, stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert await process.communicate(b"in") == (b"in", b"err\n")

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    assert forked(child) == ""


def test_stdin_is_a_pipe_that_can_be_opened_again(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("cat /dev/stdin", stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert stat.S_ISFIFO(os.fstat(process._transport.get_pipe_transport(0).get_extra_info("pipe").fileno()).st_mode)
        assert await process.communicate(b"again") == (b"again", None)

    run(main)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user(run: Run) -> None:
    async def main() -> None:
        python = "import os; print(os.getuid(), os.getgid(), os.getgroups())"
        text = await output("/usr/bin/id", "-u", user=65534)
        assert text == "65534\n"
        text = await output("/usr/bin/id", "-G", user=65534, group=65533, extra_groups=[65531, 65532])
        assert set(text.split()) == {"65531", "65532", "65533"}
        assert python

    run(main)


def test_code_to_be_run_in_the_child(run: Run) -> None:
    async def main() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads may be about
            assert await output(SHELL, "-c", "pwd", preexec_fn=lambda: os.chdir("/usr")) == "/usr\n"

    run(main)


@pytest.mark.parametrize("how", ["terminate", "kill", "send_signal"])
def test_signals(run: Run, how: str) -> None:
    async def main() -> None:
        # (In the shell's place: a `sleep` of its own would outlive it, and hold the pipes open.)
        transport, protocol = await start("echo ready; exec sleep 60", stdin=None)
        await protocol.more.wait()
        number = {"terminate": signal.SIGTERM, "kill": signal.SIGKILL, "send_signal": signal.SIGHUP}[how]
        method = getattr(transport, how)
        method(*((number,) if how == "send_signal" else ()))
        await protocol.lost
        assert transport.get_returncode() == -number
        for name in ("terminate", "kill"):
            with pytest.raises(ProcessLookupError):
                getattr(transport, name)()
        with pytest.raises(ProcessLookupError):
            transport.send_signal(signal.SIGHUP)
        transport.close()

    run(main)


def test_a_signal_to_a_child_that_has_ended_reaches_nobody(run: Run) -> None:
    async def main() -> None:
        transport, protocol = await start("exit 0")
        await protocol.exited.wait()
        if not protocol.lost.done():
            transport.kill()
        await protocol.lost
        assert transport.get_returncode() == 0
        transport.close()

    run(main)


def test_close_kills_what_runs(run: Run) -> None:
    async def main() -> None:
        transport, protocol = await start("exec sleep 60")
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert await transport._wait() == -signal.SIGKILL
        assert protocol.lost.done()
        assert protocol.events[-1] == "lost"
        with pytest.raises(ChildProcessError):
            os.waitpid(transport.get_pid(), os.WNOHANG)  # noqa: ASYNC222

    run(main)


def test_a_child_that_closes_its_pipes_before_it_ends(run: Run) -> None:
    async def main() -> None:
        near, far = os.pipe()
        script = f"exec 0<&- 1>&- 2>&-; read line </dev/fd/{near}; exit 6"
        transport, protocol = await start(script, pass_fds=(near,))
        await eventually(lambda: set(protocol.pipes_lost) == {0, 1, 2})
        await turns()
        assert "exited" not in protocol.events
        assert not protocol.lost.done()
        os.write(far, b"go\n")
        await protocol.lost
        assert protocol.events[-2:] == ["exited", "lost"]
        assert transport.get_returncode() == 6
        transport.close()
        os.close(near)
        os.close(far)

    run(main)


def test_a_grandchild_that_keeps_the_pipes(run: Run) -> None:
    async def main() -> None:
        near, far = os.pipe()
        transport, protocol = await start(
            f"(read line </dev/fd/{near}; echo late) & exit 7", stdin=None, pass_fds=(near,)
        )
        await protocol.exited.wait()
        await turns()
        assert transport.get_returncode() == 7
        assert not protocol.lost.done()
        os.write(far, b"go\n")
        await protocol.lost
        assert protocol.data[1] == b"late\n"
        assert protocol.events[-1] == "lost"
        transport.close()
        os.close(near)
        os.close(far)

    run(main)


def test_a_child_that_somebody_else_has_collected(run: Run, ledger: Ledger, loop_factory: LoopFactory) -> None:
    if sys.version_info < (3, 12) and loop_factory is asyncio.SelectorEventLoop:
        pytest.skip("asyncio's own thread may be the one that collects it")

    async def main() -> None:
        near, far = os.pipe()
        transport, protocol = await start(f"read line </dev/fd/{near}; exit 8", stdin=None, pass_fds=(near,))
        os.write(far, b"go\n")
        # In the loop's own thread, so that the loop cannot be faster.
        _, status = os.waitpid(transport.get_pid(), 0)  # noqa: ASYNC222
        assert os.waitstatus_to_exitcode(status) == 8
        await protocol.lost
        assert transport.get_returncode() == 255
        transport.close()
        os.close(near)
        os.close(far)

    run(main)
    assert len(ledger.take_logs("will report returncode 255")) == 1


@pytest.mark.parametrize("number", [0, 1, 127, 255])
def test_exit_statuses(run: Run, number: int) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell(f"exit {number}")
        assert await process.wait() == number
        assert process.returncode == number

    run(main)


def test_the_popen_behind_it(run: Run) -> None:
    async def main() -> None:
        transport, protocol = await start("exec sleep 60")
        popen = transport.get_extra_info("subprocess")
        assert isinstance(popen, subprocess.Popen)
        assert popen.poll() is None
        assert popen.returncode is None
        assert popen.args == (SHELL, "-c", "exec sleep 60")
        with pytest.raises(subprocess.TimeoutExpired):
            popen.wait(timeout=0.001)
        assert popen.stdin.fileno() == transport.get_pipe_transport(0).get_extra_info("pipe").fileno()
        popen.kill()
        await protocol.lost
        assert popen.returncode == -signal.SIGKILL
        assert popen.poll() == -signal.SIGKILL
        popen.kill()
        transport.close()

    run(main)


def test_a_popen_that_somebody_has_put_in_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Mine(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args: Any, **arguments: Any) -> None:
            seen.append(args)
            super().__init__(args, **arguments)

    async def main() -> None:
        monkeypatch.setattr(subprocess, "Popen", Mine)
        assert await output("echo", "hi") == "hi\n"

    run(main)
    assert seen == [("echo", "hi")]


def test_the_audit_event(run: Run) -> None:
    seen: list[Any] = []
    listening = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event == "subprocess.Popen":
            seen.append(arguments)

    sys.addaudithook(hook)

    async def main() -> None:
        await output("echo", "hi", cwd="/", env={"A": "b", "PATH": os.environ["PATH"]})

    run(main)
    listening = False
    assert [(program, args, cwd) for program, args, cwd, _ in seen] == [("echo", ["echo", "hi"], "/")]


def test_flow_control_of_stdin(run: Run) -> None:
    class Flow(Notes):
        def pause_writing(self) -> None:
            self.events.append("pause")

        def resume_writing(self) -> None:
            self.events.append("resume")

    async def main() -> None:
        near, far = os.pipe()
        loop = asyncio.get_running_loop()
        script = f"read line </dev/fd/{near}; cat >/dev/null"
        transport, protocol = await loop.subprocess_exec(
            Flow, SHELL, "-c", script, stdout=None, stderr=None, pass_fds=(near,)
        )
        transport.get_pipe_transport(0).write(b"x" * (1 << 20))
        assert protocol.events == ["made", "pause"]
        transport.get_pipe_transport(0).close()
        os.write(far, b"go\n")
        await protocol.lost
        assert protocol.events == ["made", "pause", "resume", ("pipe lost", 0), "exited", "lost"]
        transport.close()
        os.close(near)
        os.close(far)

    run(main)


def test_stdin_of_a_child_that_is_dead(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        assert process.stdin is not None
        await process.wait()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                process.stdin.write(b"x" * 100_000)
                await process.stdin.drain()

    run(main)


def test_communicate_ignores_a_child_that_does_not_read(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("echo", "hi", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(b"x" * (1 << 20)) == (b"hi\n", None)

    run(main)


def test_a_megabyte_both_ways(run: Run) -> None:
    async def main() -> None:
        data = os.urandom(1 << 20)
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(data) == (data, None)

    run(main)


def test_cancelled_while_the_pipes_connect(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for steps in range(8):
            notes: list[Notes] = []

            def factory(notes: list[Notes] = notes) -> Notes:
                notes.append(Notes())
                return notes[0]

            task = asyncio.create_task(loop.subprocess_exec(factory, "sleep", "60"))
            await turns(steps)
            finished = task.done()
            task.cancel()
            if finished:
                transport, _ = await task
                transport.close()
                await transport._wait()
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task
            await turns(10)
            with pytest.raises(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222

    run(main)


def test_a_pipe_that_cannot_be_connected(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        if type(loop).__module__.startswith("asyncio") and sys.version_info < (3, 15):
            return  # waits for ever for a pipe that nobody has connected, on some of its patch releases

        async def connect(factory: Any, pipe: Any) -> Any:
            raise ZeroDivisionError

        loop.connect_read_pipe = connect
        with pytest.raises(ZeroDivisionError):
            await loop.subprocess_exec(Notes, "sleep", "60")
        del loop.connect_read_pipe
        await turns(10)

    run(main)


def test_the_pipes_are_connected_through_the_loops_own_methods(run: Run) -> None:
    async def main() -> list[str]:
        loop: Any = asyncio.get_running_loop()
        names: list[str] = []
        for name in ("connect_read_pipe", "connect_write_pipe"):
            genuine = getattr(loop, name)

            def connect(*arguments: Any, name: str = name, genuine: Any = genuine) -> Any:
                names.append(name)
                return genuine(*arguments)

            setattr(loop, name, connect)
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        await process.communicate()
        del loop.connect_read_pipe, loop.connect_write_pipe
        return names

    assert run(main) == ["connect_write_pipe", "connect_read_pipe", "connect_read_pipe"]


def test_exceptions_of_the_protocol_are_reported(run: Run) -> None:
    class Raises(Notes):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ZeroDivisionError

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            super().pipe_data_received(fd, data)
            raise ArithmeticError

        def process_exited(self) -> None:
            super().process_exited()
            raise LookupError

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise BufferError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[type[BaseException]] = []
        loop.set_exception_handler(lambda _, context: told.append(type(context["exception"])))
        transport, protocol = await loop.subprocess_exec(Raises, "echo", "hi", stdin=None, stderr=None)
        await protocol.lost
        assert await transport._wait() == 0
        await turns()
        assert set(told) == {ZeroDivisionError, ArithmeticError, LookupError, BufferError}
        assert told[0] is ZeroDivisionError
        assert told[-1] is BufferError
        transport.close()

    run(main)


def test_in_a_thread_that_is_not_the_main_one(loop_factory: LoopFactory) -> None:
    results: list[Any] = []

    async def main() -> None:
        results.append(await output("echo", "hi"))

    def thread() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == ["hi\n"] * 3


def test_in_a_forked_child(loop_factory: LoopFactory) -> None:
    def child() -> None:
        async def main() -> None:
            assert await output("echo", "hi") == "hi\n"

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    assert forked(child) == ""


def test_beside_a_handler_of_sigchld(run: Run) -> None:
    async def main() -> None:
        signals = 0

        def handle() -> None:
            nonlocal signals
            signals += 1

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, handle)
        codes = await asyncio.gather(*(_ends_with(number) for number in range(20)))
        assert codes == list(range(20))
        assert signals > 0
        loop.remove_signal_handler(signal.SIGCHLD)

    run(main)


async def _ends_with(number: int) -> int:
    process = await asyncio.create_subprocess_shell(f"exit {number}")
    return await process.wait()


def test_wait_of_many_and_wait_again(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("exit 9", stdin=PIPE)
        assert await asyncio.gather(*(process.wait() for _ in range(5))) == [9] * 5
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        assert waiting.done()

    run(main)


def test_a_wait_that_is_cancelled(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 0.001)
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(main)


def test_debug_mode_tells_of_a_child(run: Run, caplog: pytest.LogCaptureFixture, ledger: Ledger) -> None:
    caplog.set_level("DEBUG", logger="asyncio")

    async def main() -> None:
        transport, protocol = await start("exit 0", stdin=None)
        await protocol.lost
        transport.close()
        transport, protocol = await start("exec sleep 60", stdin=None)
        transport.close()
        await protocol.lost

    run(main, debug=True)
    ledger.take_logs()
    for text in ("execute program", "created: pid", "exited with return code 0", "Close running child process: kill"):
        assert text in caplog.text


def test_repr(run: Run) -> None:
    async def main() -> None:
        transport, protocol = await start("cat", stderr=None)
        shown = repr(transport)
        assert f"pid={transport.get_pid()}" in shown
        assert "running" in shown
        assert "stdin=" in shown
        assert "stdout=" in shown
        transport.get_pipe_transport(0).close()
        await protocol.lost
        assert "returncode=0" in repr(transport)
        transport.close()
        assert "closed" in repr(transport)

    run(main)


def test_the_policys_child_watcher_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("child watchers are gone with Python 3.14")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if not type(loop).__module__.startswith("asyncio"):
            monkeypatch.setattr(asyncio.events, "get_child_watcher", pytest.fail)
        assert await output("echo", "hi") == "hi\n"

    run(main)
