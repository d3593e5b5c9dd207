"""Subprocesses."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

from ..probes import probe
from ..support import directory, failure


class Watching(asyncio.SubprocessProtocol):
    """Remembers what a child wrote, and when all is over."""

    def __init__(self) -> None:
        self.written: dict[int, bytes] = {}
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.written[fd] = self.written.get(fd, b"") + data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over.set_result(None)


async def outcome(transport: Any, protocol: Any) -> object:
    await protocol.over
    return transport.get_returncode(), sorted(protocol.written.items())


async def python(loop: Any, code: str, **options: Any) -> object:
    """Run a line of Python in a child: its exit status and what it wrote."""
    return await outcome(*await loop.subprocess_exec(Watching, sys.executable, "-Sc", code, **options))


@probe("subprocess_exec", "protocol_factory", "args", "program")
async def execute(loop: Any) -> object:
    seen = [await python(loop, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", stdin=None)]
    program = os.fsencode(sys.executable)
    seen.append(await outcome(*await loop.subprocess_exec(Watching, program, b"-Sc", "print(1)", stdin=None)))
    return [*seen, await failure(loop.subprocess_exec, Watching, "/no/such/program")]


@probe("subprocess_exec", "stdin")
async def stdin(loop: Any) -> object:
    code = "import sys; print(sys.stdin.read())"
    transport, protocol = await loop.subprocess_exec(Watching, sys.executable, "-Sc", code)
    transport.get_pipe_transport(0).write(b"hello")
    transport.get_pipe_transport(0).close()
    seen = [await outcome(transport, protocol), await python(loop, code, stdin=subprocess.DEVNULL)]
    reading, writing = os.pipe()
    os.write(writing, b"from a descriptor")
    os.close(writing)
    seen.append(await python(loop, code, stdin=reading))
    os.close(reading)
    return seen


@probe("subprocess_exec", "stdout")
async def stdout(loop: Any) -> object:
    reading, writing = os.pipe()
    seen = [await python(loop, "print('out')", stdin=None, stdout=writing)]
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        seen.append(pipe.read())
    return [*seen, await python(loop, "print('out')", stdin=None, stdout=subprocess.DEVNULL)]


@probe("subprocess_exec", "stderr")
async def stderr(loop: Any) -> object:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    return [await python(loop, code, stdin=None, stderr=how) for how in (subprocess.STDOUT, subprocess.DEVNULL)]


@probe("subprocess_exec", "universal_newlines", "text", "encoding", "errors")
@probe("subprocess_exec", "shell", "bufsize")
async def refused(loop: Any) -> object:
    wrong: tuple[dict[str, Any], ...] = (
        {"universal_newlines": True},
        {"shell": True},
        {"bufsize": 10},
        {"text": True},
        {"encoding": "utf-8"},
        {"errors": "strict"},
    )
    return [await failure(loop.subprocess_exec, Watching, sys.executable, "-V", **option) for option in wrong]


@probe("subprocess_exec", "cwd")
async def cwd(loop: Any) -> object:
    with directory() as place:
        answer: Any = await python(loop, "import os; print(os.getcwd(), end='')", stdin=None, cwd=place)
        right = answer[1] == [(1, os.fsencode(place.resolve()))]
    return answer[0], right, await failure(loop.subprocess_exec, Watching, sys.executable, "-V", cwd=place)


@probe("subprocess_exec", "env")
async def env(loop: Any) -> object:
    code = "import os; print(sorted(os.environ.keys() - {'LC_CTYPE'}))"
    return [await python(loop, code, stdin=None, env=env) for env in ({"ONE": "1"}, {})]


@probe("subprocess_exec", "close_fds", "pass_fds")
async def descriptors(loop: Any) -> object:
    code = "import os, sys; print([os.path.exists(f'/proc/self/fd/{n}') for n in map(int, sys.argv[1:])])"
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    seen = []
    for options in ({}, {"close_fds": False}, {"pass_fds": [writing]}):
        command = (sys.executable, "-Sc", code, str(reading), str(writing))
        seen.append(await outcome(*await loop.subprocess_exec(Watching, *command, stdin=None, **options)))
    os.close(reading)
    os.close(writing)
    return seen


@probe("subprocess_exec", "executable")
async def executable(loop: Any) -> object:
    command = ("another name", "-Sc", "print('executed')")
    return await outcome(*await loop.subprocess_exec(Watching, *command, stdin=None, executable=sys.executable))


@probe("subprocess_exec", "preexec_fn")
async def preexec_fn(loop: Any) -> object:
    code = "import os; print(os.environ.get('SET'), os.getpriority(os.PRIO_PROCESS, 0) - {})"
    now = os.getpriority(os.PRIO_PROCESS, 0)
    return await python(loop, code.format(now), stdin=None, preexec_fn=lambda: os.nice(1))


@probe("subprocess_exec", "start_new_session")
async def start_new_session(loop: Any) -> object:
    code = "import os; print(os.getsid(0) == os.getpid())"
    return [await python(loop, code, stdin=None, start_new_session=new) for new in (True, False)]


@probe("subprocess_exec", "process_group")
async def process_group(loop: Any) -> object:
    code = "import os; print(os.getpgid(0) == os.getpid())"
    return [await python(loop, code, stdin=None, process_group=group) for group in (0, None)]


@probe("subprocess_exec", "user", "group", "extra_groups")
async def user(loop: Any) -> object:
    code = f"import os; print(os.getuid() == {os.getuid()}, os.getgid() == {os.getgid()})"
    answer = await python(loop, code, stdin=None, user=os.getuid(), group=os.getgid())
    return answer, await failure(loop.subprocess_exec, Watching, sys.executable, "-V", user="no such user")


@probe("subprocess_exec", "umask")
async def umask(loop: Any) -> object:
    return await python(loop, "import os; print(oct(os.umask(0)))", stdin=None, umask=0o27)


@probe("subprocess_exec", "restore_signals")
async def restore_signals(loop: Any) -> object:
    """Python ignores SIGPIPE, and its children ignore it as well unless that is undone."""
    ignored = []
    for restore in (True, False):
        command = ("grep", "SigIgn", "/proc/self/status")
        made = await loop.subprocess_exec(Watching, *command, stdin=None, restore_signals=restore)
        await outcome(*made)
        mask = int(made[1].written[1].split()[1], 16)
        ignored.append(bool(mask >> (signal.SIGPIPE - 1) & 1))
    return ignored


@probe("subprocess_shell", "protocol_factory", "cmd")
async def shell(loop: Any) -> object:
    seen = [
        await outcome(*await loop.subprocess_shell(Watching, command, stdin=None))
        for command in ("echo out; echo err >&2; exit 3", b"echo bytes")
    ]
    return [*seen, await failure(loop.subprocess_shell, Watching, ["no", "list"])]


@probe("subprocess_shell", "stdin")
@probe("subprocess_shell", "stdout")
@probe("subprocess_shell", "stderr")
async def shell_pipes(loop: Any) -> object:
    transport, protocol = await loop.subprocess_shell(Watching, "cat; echo err >&2", stderr=subprocess.STDOUT)
    transport.get_pipe_transport(0).write(b"hello ")
    transport.get_pipe_transport(0).close()
    quiet = await loop.subprocess_shell(Watching, "echo out", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return await outcome(transport, protocol), await outcome(*quiet)


@probe("subprocess_shell", "universal_newlines", "text", "encoding", "errors")
@probe("subprocess_shell", "shell", "bufsize")
async def shell_refused(loop: Any) -> object:
    wrong: tuple[dict[str, Any], ...] = (
        {"universal_newlines": True},
        {"shell": False},
        {"bufsize": 10},
        {"text": True},
        {"encoding": "utf-8"},
        {"errors": "strict"},
    )
    return [await failure(loop.subprocess_shell, Watching, "exit", **option) for option in wrong]


@probe("subprocess_shell", "kwargs")
async def shell_keywords(loop: Any) -> object:
    made = await loop.subprocess_shell(Watching, "echo $ONE", stdin=None, env={"ONE": "1"}, start_new_session=True)
    return await outcome(*made)


@probe("subprocess_exec", "kwargs")
async def wait(loop: Any) -> object:
    """The rest of the way: asyncio's own face on the subprocess, signals, and the exit status of one that was killed."""
    child = await asyncio.create_subprocess_exec("sleep", "30", stdin=asyncio.subprocess.DEVNULL)
    child.kill()
    echo = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return await child.wait(), await echo.communicate(b"hello"), echo.returncode
