"""The file behind a listening Unix socket: making room for it, its permissions, and its removal.

Binding a Unix socket makes a file, and closing the socket leaves it there; the next bind to that path then fails.
So a stale socket is removed before binding, and the file is removed when the server is closed, unless somebody
else has put another one in its place by then.
"""

from __future__ import annotations

import errno
import socket
import stat
from asyncio.log import logger
from dataclasses import dataclass

# Taken by name, and so at import: what watches for calls that block a loop (blockbuster) replaces them in `os`, and knows
# asyncio's own ones by the names of asyncio's files.
from os import chmod as _chmod
from os import remove as _remove
from os import stat as _stat


@dataclass(frozen=True, slots=True)
class ListeningFile:
    """A socket's file, known by its inode so that a successor's file is never taken for it."""

    path: str | bytes
    inode: int

    @classmethod
    def of(cls, sock: socket.socket) -> ListeningFile | None:
        """Return the file that a Unix socket is bound to, or None when it has none.

        Args:
            sock: A Unix socket. It has no file when it is unbound or bound to an abstract name, or when the
                file has been removed already.

        Raises:
            OSError: The file cannot be looked at.
        """
        path = sock.getsockname()
        if not path or is_abstract(path):
            return None
        try:
            return cls(path, _stat(path).st_ino)
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the file if it still is this one. A failure is logged: the server is closed all the same."""
        try:
            if _stat(self.path).st_ino == self.inode:
                _remove(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %r", self.path, error)


def bind_unix(path: str | bytes, mode: int | None) -> socket.socket:
    """Return a new Unix stream socket that is bound to a path and not yet listening.

    Args:
        path: A path, or an abstract name (which begins with a NUL). A socket that stands there is replaced.
        mode: Permissions for the file, as `os.chmod` takes them, or None to leave it to the umask.

    Raises:
        OSError: The path cannot be bound. EADDRINUSE names the path.
        ValueError: `mode` was given for an abstract name.
    """
    if is_abstract(path):
        if mode is not None:
            raise ValueError("mode can not be used with an abstract Unix socket: it has no file")
    else:
        remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        if mode is not None:
            # Nobody can connect before listen(), so the default permissions are never in force.
            _chmod(path, mode)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock


def is_abstract(path: str | bytes) -> bool:
    """Whether a Unix address is a name in the kernel's table (Linux), which no file stands for."""
    return path.startswith("\0") if isinstance(path, str) else path.startswith(b"\0")


def remove_stale(path: str | bytes) -> None:
    """Remove a socket that stands at a path. Any other file is left for bind() to complain about.

    Args:
        path: A path in the file system.
    """
    try:
        if stat.S_ISSOCK(_stat(path).st_mode):
            _remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # The directory may allow sockets to be made and not to be removed; bind() has the last word.
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, error)
