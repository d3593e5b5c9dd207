"""Checks of arguments that connections and servers share, with asyncio's exceptions and words.

They are made before anything is opened, resolved or touched, in the order in which asyncio makes them: programs
and test suites look at which mistake is reported first.
"""

from __future__ import annotations

import socket
import sys


def check_tls_only(tls: object, ssl_handshake_timeout: float | None, ssl_shutdown_timeout: float | None) -> None:
    """Refuse timeouts of TLS where there is none.

    Raises:
        ValueError: One is set and `tls` is false.
    """
    if tls:
        return
    if ssl_handshake_timeout is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if ssl_shutdown_timeout is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


def check_server_context(ssl: object, ssl_handshake_timeout: float | None, ssl_shutdown_timeout: float | None) -> None:
    """Refuse what cannot be the TLS side of a server.

    Raises:
        TypeError: `ssl` is a bool: a server needs certificates.
        ValueError: A timeout of TLS is set and `ssl` is not.
    """
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    check_tls_only(ssl is not None, ssl_handshake_timeout, ssl_shutdown_timeout)


def check_not_tls_socket(sock: object) -> None:
    """Refuse a socket that speaks TLS by itself.

    Raises:
        TypeError: It is an `ssl.SSLSocket`.
    """
    # Nobody can have such a socket without having imported the module, so we need not.
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(sock, ssl.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def check_stream_socket(sock: socket.socket) -> None:
    """Refuse a socket that is no stream; the family is free.

    Raises:
        ValueError: It is a datagram or raw socket.
    """
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def check_unix_socket(sock: socket.socket) -> None:
    """Refuse a socket that is no Unix stream.

    Raises:
        ValueError: It is of another family or type.
    """
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
