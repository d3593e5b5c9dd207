"""Starting a child: `subprocess.Popen`, with its slowest part done natively.

A child is a `Popen` in every respect: all arguments are checked, all files opened and all methods had from there. Only
the step that makes the process is replaced, where the arguments allow it: by one that neither copies the parent's page
tables nor holds the interpreter's lock. Where they do not (code to be run in the child, another user or group), or where
somebody has replaced `Popen` or that step, Python's own way is taken.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from . import _tepal

_GENUINE = subprocess.Popen
"""The class as it stood when tepal was imported; tests and tools put others in its place."""

_STEP = getattr(_GENUINE, "_execute_child", None)

# fmt: off
_PARAMETERS = [
    "args", "executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env", "startupinfo", "creationflags", "shell",
    "p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite",
    "restore_signals", "gid", "gids", "uid", "umask", "start_new_session", "process_group",
]
# fmt: on
"""What the step takes on every Python that we know, after `self`."""


def start(args: Any, **arguments: Any) -> Any:
    """Start a child.

    Args:
        args: As `subprocess.Popen` takes them.
        **arguments: Likewise.

    Returns:
        A `Popen`.

    Raises:
        OSError: There can be no such child; a missing or forbidden program or directory is named.
        ValueError: As `subprocess.Popen`.
        TypeError: Likewise.
    """
    kind = Child if subprocess.Popen is _GENUINE else subprocess.Popen
    return kind(args, **arguments)


def _is_known(step: Any) -> bool:
    """Whether the step takes what we think it does."""
    code = getattr(step, "__code__", None)
    return code is not None and list(code.co_varnames[1 : code.co_argcount]) == _PARAMETERS


class Child(_GENUINE):  # type: ignore[type-arg]
    """A child process: a `subprocess.Popen` that was started natively where that was possible."""

    _exit_fd = -1
    """The pidfd by which the loop watches the child, as long as it does."""

    _has_transport = False
    """A transport answers for the child: it warns and kills when it is dropped."""

    _native = _is_known(_STEP)

    def _execute_child(self, *step: Any) -> None:
        """Make the process; called by `Popen.__init__`, by position."""
        if not self._native or getattr(_GENUINE, "_execute_child", None) is not _STEP or len(step) != len(_PARAMETERS):
            self._execute_genuine(*step)
            return
        wanted = dict(zip(_PARAMETERS, step, strict=True))
        if any(wanted[name] is not None for name in ("preexec_fn", "gid", "gids", "uid")):
            self._execute_genuine(*step)
            return
        program, command = _prepared(wanted)
        pid, stage, errno = _tepal.spawn(command)
        if stage == "unsupported":
            type(self)._native = False
            self._execute_genuine(*step)
            return
        self._close_pipe_fds(*step[10:16])  # type: ignore[attr-defined]
        if stage:
            _refuse(stage, errno, wanted["cwd"], program)
        self.pid = pid
        self._child_created = True

    def _execute_genuine(self, *step: Any) -> None:
        super()._execute_child(*step)  # type: ignore[misc]

    def __del__(self, _warn: Any = warnings.warn) -> None:
        """Leave a child that still runs to be collected later; warn of it, unless a transport does."""
        super().__del__(_warn=_say_nothing if self._has_transport else _warn)  # type: ignore[call-arg]

    def send_signal(self, sig: int) -> None:
        """Send a signal to the child, unless it has ended.

        Args:
            sig: The number of the signal.

        Raises:
            PermissionError: The child runs as another user.

        Not a checkpoint.
        """
        if self._exit_fd == -1:
            super().send_signal(sig)
        elif self.poll() is None:
            # By the descriptor, which never names another process than this one.
            try:
                signal.pidfd_send_signal(self._exit_fd, sig)
            except ProcessLookupError:
                pass


def _say_nothing(*_arguments: object, **_keywords: object) -> None:
    """Stand in for `warnings.warn`."""


def _prepared(wanted: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Check and encode the arguments of the step, in CPython's order.

    Returns:
        The program as it was given, and what the native half takes.
    """
    args, program, shell = wanted["args"], wanted["executable"], wanted["shell"]
    if isinstance(args, (str, bytes, os.PathLike)):
        if shell and isinstance(args, os.PathLike):
            raise TypeError("path-like args is not allowed when shell is true")
        args = [args]
    else:
        args = list(args)
    if shell:
        args = ["/bin/sh", "-c", *args]
        if program:
            args[0] = program
    if program is None:
        program = args[0]
    cwd, env = wanted["cwd"], wanted["env"]
    sys.audit("subprocess.Popen", program, args, cwd, env)
    environment = None if env is None else [_entry(name, value) for name, value in env.items()]
    path = os.fsencode(program)
    if os.path.dirname(path):
        programs = [path]
    else:
        programs = [os.path.join(os.fsencode(folder), path) for folder in os.get_exec_path(env)]
    kept = sorted(set(map(int, wanted["pass_fds"])))
    if kept and not 0 <= kept[0] <= kept[-1] < 2**31:
        raise ValueError("bad value(s) in fds_to_keep")
    umask, group = wanted["umask"], wanted["process_group"]
    command = {
        "programs": programs,
        "arguments": [os.fsencode(argument) for argument in args],
        "environment": environment,
        "directory": None if cwd is None else os.fsencode(cwd),
        "standard": [None if fd == -1 else fd for fd in (wanted["p2cread"], wanted["c2pwrite"], wanted["errwrite"])],
        "closes_others": bool(wanted["close_fds"]),
        "kept": kept,
        "restores_signals": bool(wanted["restore_signals"]),
        "umask": None if umask < 0 else umask,
        "new_session": bool(wanted["start_new_session"]),
        "process_group": None if group < 0 else group,
    }
    return program, command


def _entry(name: Any, value: Any) -> bytes:
    """One line of an environment."""
    name = os.fsencode(name)
    if b"=" in name:
        raise ValueError("illegal environment variable name")
    entry: bytes = name + b"=" + os.fsencode(value)
    return entry


def _refuse(stage: str, errno: int, cwd: Any, program: Any) -> None:
    """Raise what `Popen` raises for a child that did not become the program."""
    names: dict[str, Sequence[Any]] = {"directory": [cwd], "execute": [os.fspath(program)]}
    raise OSError(errno, os.strerror(errno), *names.get(stage, []))
