"""The command `tepal`: what it accepts, and whom it hands the work to."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import sysconfig
from collections.abc import Sequence
from typing import NoReturn

from . import _tepal
from ._program import run_module, run_script
from ._takeover import take_over

DESCRIPTION = "asyncio, finished: an event loop in Rust."

RUN_DESCRIPTION = """\
Run an asyncio program on tepal, as it is. Within it asyncio.run(), asyncio.Runner(), asyncio.new_event_loop(),
unittest.IsolatedAsyncioTestCase and the loops that aiohttp, uvicorn and anyio make by default are tepal's. All else is
as under python: the arguments, the import path, __main__, tracebacks and the exit code.

program:
  script.py   a script, or a folder or zip file with a __main__.py in it
  -m module   a module or a package, as with `python -m`
  args ...    whatever follows is the program's own
"""

RUN_EPILOG = """\
examples:
  tepal run app.py --port 8000
  tepal run -m uvicorn app:app --workers 2
  tepal run --debug -m pytest tests
  tepal run --accelerate app.py
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says.

    Args:
        argv: the words after `tepal`; those of this process when not given.

    Raises:
        SystemExit: for --help, --version, wrong arguments, and as the program that is run raises it.
    """
    words, program = _split_off_program(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(words)
    if options.command == "run":
        _run(options, program)
    else:
        print(info())


def info() -> str:
    """Return what a bug report should say about this installation, one `name: value` to a line."""
    threads = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with the GIL"
    return "\n".join(
        f"{name + ':':<10}{value}"
        for name, value in (
            ("tepal", _tepal.__version__),
            ("python", f"{platform.python_version()}, {platform.python_implementation()} {threads}"),
            ("", sys.executable),
            ("platform", platform.platform()),
            ("backend", _tepal.BACKEND),
            ("features", ", ".join(_features())),
        )
    )


def _features() -> list[str]:
    """Return what this build can do that another may not: by version of tepal, of Python or of the system."""
    features = ["TCP", "Unix sockets", "TLS"]
    if sys.version_info < (3, 16):
        features.append("install()")
    return features


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tepal", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tepal {_tepal.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    run = commands.add_parser(
        "run",
        help="run an asyncio program on tepal",
        usage="tepal run [--debug] [--accelerate] (script.py | -m module) [args ...]",
        description=RUN_DESCRIPTION,
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument("--debug", action="store_true", help="turn on asyncio's debug mode, as PYTHONASYNCIODEBUG=1 does")
    run.add_argument(
        "--accelerate",
        action="store_true",
        help="give the program tepal's queues, locks and timeouts in the place of asyncio's",
    )
    run.set_defaults(fail=run.error)

    commands.add_parser(
        "info",
        help="print versions, platform, backend and features",
        description="Print versions, platform, backend and features: what a bug report should say.",
    )
    return parser


def _split_off_program(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide `run --debug app.py --debug` into what is ours and what begins with the program.

    Done by hand, because argparse looks into what follows the program even where it is told to leave it alone (a `--`
    there gets lost). Options of `run` that take a value must therefore be written `--option=value`.
    """
    words = list(words)
    if words[:1] == ["run"]:
        for index, word in enumerate(words[1:], start=1):
            if word.startswith("-m") or not word.startswith("-"):
                return words[:index], words[index:]
    return words, []


def _run(options: argparse.Namespace, program: Sequence[str]) -> None:
    name, *args = program or [""]
    is_module = name.startswith("-m")
    if is_module:
        name, *args = [name[2:], *args] if name != "-m" else args or [""]
    if not name:
        _fail(options, "which program? Name a script, or a module after -m")
    if options.debug:
        if sys.flags.ignore_environment:
            _fail(options, "--debug speaks to asyncio through PYTHONASYNCIODEBUG, which python -E and -I ignore")
        # asyncio looks here whenever it makes a loop, and so do the processes that the program starts.
        os.environ["PYTHONASYNCIODEBUG"] = "1"
    take_over(accelerate=options.accelerate)
    if is_module:
        run_module(name, args)
    else:
        run_script(name, args)


def _fail(options: argparse.Namespace, message: str) -> NoReturn:
    options.fail(message)
    raise AssertionError("argparse's error() does not return")
