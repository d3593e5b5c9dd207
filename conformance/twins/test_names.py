"""getaddrinfo and getnameinfo: the loop says what the socket module says."""

from __future__ import annotations

import asyncio
import logging
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from .support import LoopFactory, Run
from .versions import is_asyncio

HOSTS = [
    "127.0.0.1",
    b"127.0.0.1",
    "0.0.0.0",
    "::1",
    "::",
    b"::1",
    "0:0::0001",
    "::ffff:127.0.0.1",
    "fe80::1%lo",
    "fe80::1%1",
    "fe80::1%no-such-interface",
    "::1%lo",
    "[::1]",
    "127.1",
    "0x7f.1",
    "127.0.0.1%lo",
    "1.2.3.4.5",
    "127.0.0.1 ",
    "127.0.0.1\0",
    "",
    b"",
    b"\xff",
    "*",
    None,
    5,
    bytearray(b"127.0.0.1"),
]
PORTS = [0, 80, "80", b"80", "0080", " 80", "http", "no-such-service", "", None, -1, 70000, 10**30, 1.5, "²"]


def outcome(function: Any) -> Any:
    """What a call comes to, errors included."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001  # whichever it is, both must raise it
        return type(error), error.args


async def outcome_of(awaitable: Any) -> Any:
    try:
        return await awaitable
    except Exception as error:  # noqa: BLE001  # whichever it is, both must raise it
        return type(error), error.args


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer "no such name" instead of asking a name server, however this machine is connected."""
    resolve = socket.getaddrinfo

    def numeric_only(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        return resolve(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)

    monkeypatch.setattr(socket, "getaddrinfo", numeric_only)


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_hosts_give_what_the_socket_module_gives(run: Run, host: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for options in (
            {},
            {"type": socket.SOCK_STREAM},
            {"type": socket.SOCK_STREAM, "family": socket.AF_INET},
            {"type": socket.SOCK_DGRAM, "family": socket.AF_INET6},
            {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE},
            {"type": socket.SOCK_STREAM, "flags": socket.AI_CANONNAME},
            {"type": socket.SOCK_STREAM, "flags": socket.AI_V4MAPPED | socket.AI_ALL, "family": socket.AF_INET6},
            {"proto": socket.IPPROTO_UDP},
        ):
            expected = outcome(lambda options=options: socket.getaddrinfo(host, 80, **options))
            assert await outcome_of(loop.getaddrinfo(host, 80, **options)) == expected

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", None], ids=repr)
@pytest.mark.parametrize("port", PORTS, ids=repr)
def test_ports_give_what_the_socket_module_gives(run: Run, host: str | None, port: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        expected = outcome(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        assert await outcome_of(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)) == expected

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo", b"127.0.0.1", None], ids=repr)
def test_a_literal_reaches_no_thread(run: Run, loop_factory: LoopFactory, host: Any) -> None:
    class Counting(ThreadPoolExecutor):
        count = 0

        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            self.count += 1
            return super().submit(*args, **kwargs)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        executor = Counting()
        loop.set_default_executor(executor)
        await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        # asyncio answers the same from a thread: the one thing in which the twins may differ.
        assert executor.count == (2 if is_asyncio(loop_factory) else 0)
        await loop.getaddrinfo("127.0.0.1", "http", type=socket.SOCK_STREAM)
        assert executor.count == (3 if is_asyncio(loop_factory) else 1)

    run(main)


def test_names_are_asked_through_run_in_executor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked: list[Any] = []

        def run_in_executor(executor: object, function: object, *args: object) -> asyncio.Future[Any]:
            asked.append((executor, *args))
            answer: asyncio.Future[Any] = loop.create_future()
            answer.set_result(["an answer"])
            return answer

        loop.run_in_executor = run_in_executor  # type: ignore[assignment]
        try:
            assert await loop.getaddrinfo("name.example", 80, family=socket.AF_INET, flags=1) == ["an answer"]
            assert await loop.getnameinfo(("127.0.0.1", 80)) == ["an answer"]
        finally:
            del loop.run_in_executor
        assert asked == [(None, "name.example", 80, socket.AF_INET, 0, 0, 1), (None, ("127.0.0.1", 80), 0)]

    run(main)


def test_the_options_are_keywords(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80, socket.AF_INET)  # type: ignore[misc]

    run(main)


@pytest.mark.parametrize(
    "address",
    [("127.0.0.1", 80), ("::1", 80), ("::1", 80, 0, 0), ("no literal", 80), ("127.0.0.1", 80, 0), ()],
    ids=repr,
)
def test_getnameinfo_gives_what_the_socket_module_gives(run: Run, address: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for flags in (socket.NI_NUMERICHOST, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV, socket.NI_DGRAM):
            expected = outcome(lambda flags=flags: socket.getnameinfo(address, flags | socket.NI_NUMERICHOST))
            got = await outcome_of(loop.getnameinfo(address, flags | socket.NI_NUMERICHOST))
            assert got == expected

    run(main)


def test_debug_mode_says_how_long_it_took(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(main, debug=True)
    text = "\n".join(caplog.messages)
    assert "127.0.0.1:80, type=" in text
    assert "took" in text


def test_a_slow_answer_is_worth_an_info(run: Run, caplog: pytest.LogCaptureFixture, ledger: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.0  # type: ignore[attr-defined]
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        loop.slow_callback_duration = 60.0  # type: ignore[attr-defined]

    with caplog.at_level(logging.INFO, "asyncio"):
        run(main, debug=True)
    assert any("took" in r.getMessage() for r in caplog.records if r.levelno == logging.INFO)
    ledger.take_logs("Executing")


def test_localhost_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    async def main() -> None:
        infos = await asyncio.get_running_loop().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        assert {info[4][0] for info in infos} <= {"127.0.0.1", "::1"}
        assert infos

    run(main)


@pytest.mark.parametrize("host", ["\0", "127.0.0.1\0", "localhost\0.example"])
def test_no_connection_to_half_a_name(run: Run, host: str) -> None:
    """The socket module would take the name to end before the NUL."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="embedded null character"):
            await loop.create_connection(asyncio.Protocol, host, 1)
        with pytest.raises(ValueError, match="embedded null character"):
            await loop.create_server(asyncio.Protocol, host, 0)
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ValueError, match="embedded null character"):
                await loop.sock_connect(sock, (host, 1))

    run(main)


def test_an_answer_is_the_callers_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done to one answer does not show in the next."""
    monkeypatch.undo()  # Whoever replaces the socket module's function gets no remembered answers.

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for flags in (0, socket.AI_PASSIVE):
            first = await loop.getaddrinfo("127.0.0.1", 8080, type=socket.SOCK_STREAM, flags=flags)
            expected = list(first)
            first.clear()
            second = await loop.getaddrinfo("127.0.0.1", 8080, type=socket.SOCK_STREAM, flags=flags)
            assert second == expected
            assert [type(part) for part in second[0]] == [type(part) for part in expected[0]]

    run(main)


def test_a_question_that_is_only_equal_is_judged_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.getaddrinfo("127.0.0.1", 80)
        with pytest.raises((TypeError, OSError)):
            await loop.getaddrinfo("127.0.0.1", 80.0)  # type: ignore[arg-type]

    run(main)


def test_a_function_in_the_place_of_the_socket_modules_is_asked_each_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.getaddrinfo("127.0.0.1", 81)
        asked = []

        def answer(*args: object, **kwargs: object) -> list[object]:
            asked.append(args)
            return []

        with monkeypatch.context() as patches:
            patches.setattr(socket, "getaddrinfo", answer)
            assert await loop.getaddrinfo("127.0.0.1", 81) == []
            assert await loop.getaddrinfo("127.0.0.1", 81) == []
        assert len(asked) == 2
        assert await loop.getaddrinfo("127.0.0.1", 81)

    run(main)
