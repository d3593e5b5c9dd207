"""The programs that the mail of 2016 and the talk of 2018 promised run, and do what they say."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SEEDS = Path(__file__).resolve().parent.parent / "examples" / "seeds"


def run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; without a word on stderr, unless it logs."""
    return subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", str(SEEDS / f"{name}.py"), *args],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


@contextlib.contextmanager
def running(name: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program that waits to be ended."""
    child = subprocess.Popen(
        [sys.executable, "-u", str(SEEDS / f"{name}.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def port(child: subprocess.Popen[str]) -> int:
    text = line(child)
    assert text.startswith("Serving on port "), text
    return int(text.rsplit(" ", 1)[1])


def test_run() -> None:
    ended = run("produce_and_consume")
    assert sorted(ended.stdout.split("\n")) == sorted(
        ["", *(f"{done} {number}" for number in range(3) for done in ("produced", "consumed"))]
    )
    assert ended.stderr == ""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_waits_for_an_interrupt(signum: signal.Signals) -> None:
    with running("echo_until_interrupt") as child:
        number = port(child)
        with socket.create_connection(("127.0.0.1", number), timeout=10) as busy, busy.makefile("rw") as file:
            file.write("hello\n")
            file.flush()
            assert file.readline() == "hello\n"
            child.send_signal(signum)
            assert line(child) == f"{signum.name}: closing"
            # Idle, it is closed when its second is over, and the program ends.
            out, err = child.communicate(timeout=20)
        assert (child.returncode, out, err) == (0, "", "")


def test_serve_forever() -> None:
    with running("serve_forever") as child:
        with socket.create_connection(("127.0.0.1", port(child)), timeout=10) as sock:
            assert sock.recv(100) == b"hello\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
        assert (child.returncode, err) == (0, "")


def test_signals_of_the_running_loop() -> None:
    with running("signals_of_the_running_loop") as child:
        assert line(child) == "ready"
        for number in (1, 2):
            child.send_signal(signal.SIGUSR1)
            assert line(child) == f"signal {number}"
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=20)
        assert (child.returncode, out, err) == (0, "2 signals\n", "")


def test_two_children() -> None:
    assert run("two_children").stdout.split("\n") == [
        *("the first begins", "the second begins", "the second ends", "the first ends", "both have ended", ""),
    ]


def test_task_group() -> None:
    assert run("task_group").stdout == "[0, 1, 4, 9]\n"


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server of one connection that gives this answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                sock, _ = listening.accept()
                with sock:
                    sock.recv(4096)
                    sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nthe page", "the page\n"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "failed: LookupError('HTTP/1.0 404 Not Found')\n"),
        (b"SSH-2.0-something", "failed: ValueError(\"that is no HTTP: b'SSH-2.0-something'\")\n"),
    ],
)
def test_a_supervisor_fetches_a_page(answer: bytes, printed: str) -> None:
    with answering(answer) as number:
        ended = run("get_by_supervisor", "127.0.0.1", str(number))
    assert (ended.stdout, ended.stderr) == (printed, "")


def test_a_supervisor_that_cannot_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1]
    ended = run("get_by_supervisor", "127.0.0.1", str(number))
    assert ended.stdout.startswith("failed: ConnectionRefusedError")
    assert ended.stderr == ""


def test_context_variables() -> None:
    ended = run("context_variables")
    parts = "['all', 'callback', 'query', 'render']"
    assert ended.stdout == f"hello, Ada {parts}\nhallo, Emmy {parts}\nbonjour, Sophie {parts}\n"
    lines = ended.stderr.strip().split("\n")
    for number, name in enumerate(("Ada", "Emmy", "Sophie"), 1):
        own = sorted(text for text in lines if text.startswith(f"request-{number} "))
        start = f"request-{number}"
        assert own == [
            f"{start} called back",
            f"{start} queried for {name}",
            f"{start} queried for {name}",
            f"{start} rendering",
        ]
    assert lines[-1] == "- done"


def test_the_program_of_1958(tmp_path: Path) -> None:
    rng = random.Random(1958)
    for number in range(20):
        products = sorted({f"P{rng.randrange(40):03}" for _ in range(rng.randrange(25))})
        known = sorted({f"P{rng.randrange(40):03}" for _ in range(rng.randrange(25))})
        stock, prices = tmp_path / "stock", tmp_path / "prices"
        stock.write_text("".join(f"{product} {rng.randrange(100)}\n" for product in products))
        prices.write_text("".join(f"{product} {rng.randrange(1000) / 100}\n" for product in known) + "ZZZZZZZZZZZZ 0\n")
        outputs = []
        for way in ("jumps", "structure"):
            priced, unpriced = tmp_path / f"priced-{way}", tmp_path / f"unpriced-{way}"
            if number < 3:
                run(f"inventory_by_{way}", *map(str, (stock, prices, priced, unpriced)))
            else:
                _call(f"inventory_by_{way}", stock, prices, priced, unpriced)
            outputs.append((priced.read_text(), unpriced.read_text()))
        assert outputs[0] == outputs[1]
        rows = [row.split()[0] for text in outputs[0] for row in text.splitlines()]
        assert sorted(rows) == products
        assert [row.split()[0] for row in outputs[0][0].splitlines()] == sorted(set(products) & set(known))


def _call(name: str, *paths: Path) -> None:
    """Run a program's `main` in this process: starting one takes longer than the pricing."""
    import importlib.util

    import tepal

    spec = importlib.util.spec_from_file_location(name, SEEDS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tepal.run(module.main(*map(str, paths)))
