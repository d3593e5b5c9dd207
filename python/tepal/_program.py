"""Running a program as `python script.py` and `python -m module` run it, from inside a process that runs already.

`runpy`'s public functions put a temporary module in the place of `__main__` and take it away at the end. That is too
early: non-daemon threads, atexit functions and pickles of the program still look for it. So the program gets a
`__main__` of its own that stays until the process ends, as under python itself.
"""

from __future__ import annotations

import builtins
import io
import os
import pkgutil
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType, TracebackType


def run_script(path: str, args: Sequence[str]) -> None:
    """Run a script, or a folder or zip file with a `__main__.py` in it, as the main program. Not a checkpoint.

    Args:
        path: what one would give to `python`; it becomes `sys.argv[0]`.
        args: the rest of `sys.argv`.

    Raises:
        SystemExit: as the program raises it; with 2, after a message, when the file cannot be opened.
        BaseException: whatever the program lets out.
    """
    main = _new_main()
    sys.argv[:] = [path, *args]
    file = os.path.join(os.getcwd(), path)  # absolute, but not tidied up: as python leaves it
    if pkgutil.get_importer(file) is not None:
        # A folder or an archive is itself the place its modules come from, even where -P keeps others out.
        _set_first_path(file, even_if_safe=True)
        _run(lambda: _run_module_as_main("__main__", False))
        return
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    main.__file__ = file
    main.__loader__ = SourceFileLoader("__main__", file)
    _run(lambda: exec(_read_code(file), main.__dict__))


def run_module(name: str, args: Sequence[str]) -> None:
    """Run a module or package as the main program. Not a checkpoint.

    Args:
        name: the module's full name; a package's `__main__` is run.
        args: `sys.argv` without its first item, which becomes the path of the module's file.

    Raises:
        SystemExit: as the program raises it; with a message when there is no such module.
        BaseException: whatever the program lets out.
    """
    _new_main()
    # What python has there while it looks for the module.
    sys.argv[:] = ["-m", *args]
    _set_first_path(os.getcwd())
    _run(lambda: _run_module_as_main(name))


def _new_main() -> ModuleType:
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    # Whether a main module begins with these differs by version; the one that python made for us tells.
    ours = sys.modules["__main__"].__dict__
    fresh: dict[str, object] = {"__annotations__": {}, "__cached__": None}
    main.__dict__.update({name: value for name, value in fresh.items() if name in ours})
    sys.modules["__main__"] = main
    return main


def _set_first_path(path: str, *, even_if_safe: bool = False) -> None:
    """Put the program's folder where python put ours (or the current one), unless it was told to put none (-P, -I)."""
    if not sys.flags.safe_path:
        sys.path[0] = path
    elif even_if_safe:
        sys.path.insert(0, path)


def _read_code(file: str) -> CodeType:
    try:
        with io.open_code(file) as stream:
            compiled: CodeType | None = pkgutil.read_code(stream)
        if compiled is not None:
            return compiled
        with io.open_code(file) as stream:
            source = stream.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {file!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    return compile(source, file, "exec", dont_inherit=True)


def _run_module_as_main(name: str, alter_argv: bool = True) -> object:
    # Private in name only: it is what the interpreter itself calls for `-m`, so it finds, reports and runs exactly alike.
    return runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def _run(program: Callable[[], object]) -> None:
    try:
        program()
    except BaseException as error:
        _report_without_us(error)
        raise


def _report_without_us(error: BaseException) -> None:
    """See to it that the traceback of an error that ends the program begins in the program.

    The error goes on as it is, so that the interpreter does with it what it always does (exit codes, the death by SIGINT
    after a KeyboardInterrupt). Our frames cannot be taken off on the way, for each one puts itself back as the error
    passes; they are taken off where it is shown, whoever shows it.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    show = sys.excepthook

    def excepthook(kind: type[BaseException], value: BaseException, shown: TracebackType | None) -> None:
        if value is error:
            value.__traceback__ = shown = traceback
        show(kind, value, shown)

    sys.excepthook = excepthook
