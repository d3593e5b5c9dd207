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
"""

RUN_EPILOG = """\
examples:
  tepal run app.py --port 8000
  tepal run -m uvicorn app:app --workers 2
  tepal run --debug -m pytest tests
"""


def main(argv: Sequence[str] | None = None) -> int | None:
    """Do what the command line says.

    Args:
        argv: the words after `tepal`; those of this process when not given.

    Returns:
        The exit code, None for success.

    Raises:
        SystemExit: for --help, --version, wrong arguments, and as the program that is run raises it.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command == "run":
        return _run(options)
    print(info())
    return None


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
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tepal", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tepal {_tepal.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    run = commands.add_parser(
        "run",
        help="run an asyncio program on tepal",
        usage="tepal run [--debug] (script.py | -m module) [args ...]",
        description=RUN_DESCRIPTION,
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument("--debug", action="store_true", help="turn on asyncio's debug mode, as PYTHONASYNCIODEBUG=1 does")
    # Both take the rest of the line: what follows the program is the program's, whatever it looks like.
    run.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module, as `python -m` does")
    run.add_argument("script", nargs=argparse.REMAINDER, help="a script, or a folder or zip file with a __main__.py")
    run.set_defaults(fail=run.error)

    commands.add_parser(
        "info",
        help="print versions, platform, backend and features",
        description="Print versions, platform, backend and features: what a bug report should say.",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    program = options.script if options.module is None else options.module
    if not program:
        _fail(options, "which program? Name a script, or a module after -m")
    if options.debug:
        if sys.flags.ignore_environment:
            _fail(options, "--debug speaks to asyncio through PYTHONASYNCIODEBUG, which python -E and -I ignore")
        # asyncio looks here whenever it makes a loop, and so do the processes that the program starts.
        os.environ["PYTHONASYNCIODEBUG"] = "1"
    take_over()
    name, *args = program
    if options.module is None:
        run_script(name, args)
    else:
        run_module(name, args)


def _fail(options: argparse.Namespace, message: str) -> NoReturn:
    options.fail(message)
    raise AssertionError("argparse's error() does not return")
