"""Real servers for the tests of this room, each started once in a process of tests, in a folder of its own that goes with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import certificates
import pytest


class Server(NamedTuple):
    """Where a server is reached: plainly, encrypted (the same port for PostgreSQL), and by a Unix socket."""

    port: int
    tls_port: int
    folder: Path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    # It refuses to run as root. Debian's package has made a user for it.
    user = "postgres" if os.getuid() == 0 else None
    with server_folder(user) as folder:
        files = certificates.write(folder)
        for path in files:
            own(path, user)
        data = folder / "data"
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tepal", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            check=True, capture_output=True, cwd=folder, **as_user,
        )  # fmt: skip
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off",
            "ssl": "on", "ssl_cert_file": files.certificate, "ssl_key_file": files.key,
        }  # fmt: skip
        words = [str(programs / "postgres"), "-D", str(data)]
        words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # A connection that it takes is no sign: while it starts, it takes them to say so.
        ask = [programs / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port)]
        with running(words, folder, lambda: subprocess.run(ask, check=False).returncode == 0, **as_user):
            yield Server(port, port, folder)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    with server_folder(None) as folder:
        files = certificates.write(folder)
        port, tls_port = free_port(), free_port()
        settings = {
            "port": port, "bind": "127.0.0.1", "unixsocket": folder / "redis.sock", "dir": folder, "save": "",
            "tls-port": tls_port, "tls-cert-file": files.certificate, "tls-key-file": files.key,
            "tls-ca-cert-file": files.authority, "tls-auth-clients": "no",
        }  # fmt: skip
        words = [program, *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
        with running(words, folder, lambda: answers(port) and (folder / "redis.sock").exists()):
            yield Server(port, tls_port, folder)


def find_postgres() -> Path | None:
    """The folder of its programs: Debian keeps the server's out of the PATH, one folder for each version."""
    candidates = [Path(found).resolve().parent for name in ("postgres",) if (found := shutil.which(name))]
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


@contextlib.contextmanager
def server_folder(user: str | None) -> Iterator[Path]:
    # Not pytest's: paths of Unix sockets are short, and another user must be able to come in.
    folder = Path(tempfile.mkdtemp(prefix="tepal-", dir="/tmp"))
    try:
        own(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def own(path: Path, user: str | None) -> None:
    if user:
        shutil.chown(path, user)


@contextlib.contextmanager
def running(words: list[str], folder: Path, ready: Callable[[], bool], **options: object) -> Iterator[None]:
    """Run a server until the block ends; the block begins when it is ready."""
    with open(folder / "log", "w+b") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, **options)  # type: ignore[call-overload]
        try:
            deadline = time.monotonic() + 50
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    pytest.fail(f"{words[0]} did not start: {log.read().decode()[-2000:]}")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
