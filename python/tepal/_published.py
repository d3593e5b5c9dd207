"""Where `python -m asyncio ps` looks for a task's name, coroutine and waiters (Python 3.14 and newer): told to the native half.

The interpreter says it in an ELF section named ``.AsyncioDebug`` (Modules/_asynciomodule.c, `Py_AsyncioModuleDebugOffsets`), which
lies in the file of the module `_asyncio`, or in the interpreter's own where that is built in. It is read as the tools read it. What
is not found, or looks otherwise than expected, is left alone: the tools then see tasks without their names.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from . import _tepal

_SECTION = b".AsyncioDebug"
_TASK = struct.Struct("<7Q")
"""The section's beginning: size, task_name, task_awaited_by, task_is_task, task_awaited_by_is_set, task_coro, task_node."""


def publish_tasks() -> None:
    """Find the layout and tell it. Not a checkpoint."""
    for path in _files():
        with suppress(OSError, struct.error, ValueError), open(path, "rb") as file:
            found = _section(file)
            if found is not None:
                size, name, awaited_by, is_task, is_set, coro, _node = _TASK.unpack_from(found)
                _tepal.set_published_layout(size, name, awaited_by, is_task, is_set, coro)
                return


def _files() -> Iterator[str]:
    import _asyncio

    if (own := getattr(_asyncio, "__file__", None)) is not None:
        yield own
        return
    yield os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    import sysconfig  # milliseconds, so only where the interpreter is a library

    library, folder = sysconfig.get_config_var("INSTSONAME"), sysconfig.get_config_var("LIBDIR")
    if library and folder:
        yield os.path.join(folder, library)


def _section(file: BinaryIO) -> bytes | None:
    """The bytes of the section; None when it is not there, or this is no ELF file of 64 bits, little end first (elf(5))."""
    header = file.read(64)
    if header[:6] != b"\x7fELF\x02\x01":
        return None
    (table,) = struct.unpack_from("<Q", header, 0x28)
    size, count, names_index = struct.unpack_from("<3H", header, 0x3A)
    file.seek(table)
    sections = [struct.unpack_from("<IIQQQQ", file.read(size)) for _ in range(count)]
    file.seek(sections[names_index][4])
    names = file.read(sections[names_index][5])
    for name, _kind, _flags, _address, offset, length in sections:
        if names.startswith(_SECTION + b"\0", name):
            file.seek(offset)
            return file.read(length)
    return None
