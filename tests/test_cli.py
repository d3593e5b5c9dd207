"""The command `tepal`: its own words, and that a program under `tepal run` sees what it would see under python.

Wherever python itself can say what is right, it is asked: the same program is run both ways and the two must not differ.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tepal

Run = Callable[..., "subprocess.CompletedProcess[str]"]

WHICH = """
import asyncio
async def which():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestWords:
    def test_version(self, python: Run) -> None:
        assert python("-m", "tepal", "--version").stdout == f"tepal {tepal.__version__}\n"

    def test_the_script_is_the_module(self, python: Run) -> None:
        script = Path(sys.executable).with_name("tepal")
        # `--version`, because `info` names the interpreter, and an installer may have written another of its names.
        done = subprocess.run([script, "--version"], stdout=subprocess.PIPE, text=True, check=True)
        assert done.stdout == python("-m", "tepal", "--version").stdout

    def test_info(self, python: Run) -> None:
        done = python("-m", "tepal", "info")
        assert (done.returncode, done.stderr) == (0, "")
        for fact in (
            rf"^tepal: +{re.escape(tepal.__version__)}$",
            r"^python: +3\.\d+\.\d+",
            r"^platform: ",
            r"^backend: +\w+",
        ):
            assert re.search(fact, done.stdout, re.MULTILINE), done.stdout

    @pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["info", "--help"]])
    def test_help(self, python: Run, args: list[str]) -> None:
        done = python("-m", "tepal", *args)
        assert done.returncode == 0
        assert done.stdout.startswith("usage: tepal")

    @pytest.mark.parametrize(
        "args", [[], ["fly"], ["run"], ["run", "--debug"], ["run", "-m"], ["run", "--fast", "x.py"], ["info", "x"]]
    )
    def test_wrong_words(self, python: Run, args: list[str]) -> None:
        done = python("-m", "tepal", *args)
        assert done.returncode == 2
        assert "usage: tepal" in done.stderr
        assert "Traceback" not in done.stderr


LOOK = """
'''A program that says what it sees.'''
import sys
print(__name__, __file__, __doc__, __package__, __spec__ and __spec__.name, type(__loader__).__name__, __builtins__)
print(sys.argv, sys.path, sorted(globals()))
print(sys.modules["__main__"].__dict__ is globals())
"""

PROGRAMS = {
    "looks around": LOOK,
    "ends well": "import sys; sys.exit(0)",
    "ends with a number": "import sys; sys.exit(7)",
    "ends with a word": "import sys; sys.exit('so long')",
    "raises": "def f(): 1 / 0\nf()\n",
    "raises a chain": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('v') from e\n",
    "raises a group": "raise ExceptionGroup('g', [ValueError(1), KeyError(2)])",
    "does not compile": "x = = 1\n",
    "has a coding": "# coding: utf-8\nprint(len('\N{SNOWMAN}'))\n",
    "has a hook of its own": (
        "import sys\nsys.excepthook = lambda k, v, t: print(k.__name__, t.tb_lineno, v.__traceback__ is t)\n\n1 / 0\n"
    ),
    "kills itself": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
    "interrupts itself": "raise KeyboardInterrupt",
    "goes on in a thread": (
        "import threading, time, sys\nclass C: pass\n"
        "def later():\n    time.sleep(.2); import pickle; print(type(pickle.loads(pickle.dumps(C()))))\n"
        "threading.Thread(target=later).start()\nsys.exit(3)\n"
    ),
    "goes on at exit": (
        "import atexit, sys\nclass C: pass\n"
        "atexit.register(lambda: print(C, sys.modules['__main__'].C is C))\nraise ValueError('last')\n"
    ),
}


class TestAsUnderPython:
    """What a program does, prints and returns does not differ by who started it."""

    @pytest.fixture
    def same(self, python: Run) -> Run:
        def run(*args: str, options: tuple[str, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
            plain = python(*options, *args, **more)
            ours = python(*options, "-m", "tepal", "run", *args, **more)
            assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)
            return ours

        return run

    @pytest.mark.parametrize("program", PROGRAMS)
    @pytest.mark.parametrize("module", [False, True], ids=["script", "module"])
    def test_program(self, same: Run, tmp_path: Path, program: str, module: bool) -> None:
        write(tmp_path, "program.py", PROGRAMS[program])
        same(*(["-m", "program"] if module else ["program.py"]))

    def test_traceback_of_a_coroutine(self, python: Run, tmp_path: Path) -> None:
        # Not compared with python's: the frames of the loop are the loop's.
        path = write(
            tmp_path, "program.py", "import asyncio\nasync def f():\n    raise KeyError('k')\nasyncio.run(f())\n"
        )
        done = python("-m", "tepal", "run", "program.py")
        lines = done.stderr.splitlines()
        assert lines[:2] == ["Traceback (most recent call last):", f'  File "{path}", line 4, in <module>']
        assert lines[-1] == "KeyError: 'k'"

    @pytest.mark.parametrize(
        "args", [["a", "b"], ["--debug"], ["--", "-m"], ["-mx", "-m", "x"], ["--help"], ["--version"], [""]]
    )
    def test_arguments(self, same: Run, tmp_path: Path, args: list[str]) -> None:
        write(tmp_path, "program.py", "import sys; print(sys.argv)")
        assert same("program.py", *args).stdout == f"{['program.py', *args]}\n"
        same("-m", "program", *args)

    def test_script_elsewhere_and_through_a_link(self, same: Run, tmp_path: Path) -> None:
        write(tmp_path, "far/away/program.py", LOOK + "import beside")
        write(tmp_path, "far/away/beside.py", "print('beside', __file__)")
        (tmp_path / "link.py").symlink_to("far/away/program.py")
        same("far/away/program.py")
        same("../" + tmp_path.name + "//far/away/program.py")
        same("./far/../far/away/program.py")
        same(str(tmp_path / "far/away/program.py"))
        assert "beside" in same("link.py").stdout

    def test_package_folder_and_archive(self, same: Run, tmp_path: Path) -> None:
        write(tmp_path, "pack/__init__.py", "print('init', __name__)")
        main = write(tmp_path, "pack/__main__.py", LOOK)
        write(tmp_path, "pack/part.py", LOOK + "from . import __main__ as other")
        same("-m", "pack", "x")
        same("-m", "pack.part")
        same("pack", "x")
        with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
            archive.write(main, "__main__.py")
        same("app.zip", "x")

    def test_compiled_script(self, same: Run, python: Run, tmp_path: Path) -> None:
        write(tmp_path, "program.py", "print('compiled')")
        python("-c", "import py_compile; py_compile.compile('program.py', 'program.pyc')")
        assert same("program.pyc").stdout == "compiled\n"

    def test_what_is_not_there(self, same: Run, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "secret.py").symlink_to("nowhere")
        assert same("nothing.py").returncode == 2
        assert same("secret.py").returncode == 2
        assert same("empty").returncode == 1
        assert same("-m", "nothing").returncode == 1
        assert same("-m", "nothing.at.all").returncode == 1
        assert same("-m", "empty").returncode == 1

    def test_interpreter_options(self, same: Run, tmp_path: Path) -> None:
        write(tmp_path, "program.py", LOOK)
        same("program.py", options=("-P",))
        same("program.py", options=("-O", "-W", "error"))
        same("program.py", PYTHONSAFEPATH="1")
        same("program.py", options=("-X", "dev"))

    def test_interrupt_from_outside(self, tmp_path: Path) -> None:
        program = write(
            tmp_path,
            "program.py",
            "import asyncio\nasync def f():\n    print('up', flush=True)\n    await asyncio.sleep(60)\nasyncio.run(f())\n",
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "tepal", "run", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT
        assert errors.splitlines()[-1] == "KeyboardInterrupt"
        assert "tepal/_program.py" not in errors


LOOPS = {
    "asyncio.run": "print(asyncio.run(which()))",
    "Runner": "with asyncio.Runner() as runner: print(runner.run(which()))",
    "new_event_loop": "loop = asyncio.new_event_loop(); print(loop.run_until_complete(which())); loop.close()",
    "IsolatedAsyncioTestCase": (
        "import unittest\n"
        "class Test(unittest.IsolatedAsyncioTestCase):\n"
        "    async def test(self): print(await which())\n"
        "unittest.main(argv=['x', '-q'], exit=False)"
    ),
    "anyio": "import anyio; print(anyio.run(which))",
    "thread": "import threading; t = threading.Thread(target=lambda: print(asyncio.run(which()))); t.start(); t.join()",
    "aiohttp": (
        "from aiohttp import web\n"
        "async def app():\n    print(await which()); raise web.GracefulExit\n"
        "web.run_app(app(), print=None)"
    ),
    "uvicorn auto": (
        "import uvicorn\n"
        "async def app(scope, receive, send): pass\n"
        "config = uvicorn.Config(app)\n"
        "with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner: print(runner.run(which()))"
    ),
}
for choice in ("asyncio", "none", "tepal:new_event_loop"):
    LOOPS[f"uvicorn {choice}"] = LOOPS["uvicorn auto"].replace("Config(app", f"Config(app, loop='{choice}'")
if sys.version_info < (3, 16):
    LOOPS["policy"] = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "loop = asyncio.get_event_loop_policy().new_event_loop(); print(loop.run_until_complete(which())); loop.close()"
    )
if sys.version_info >= (3, 13):
    LOOPS["EventLoop"] = "print(asyncio.run(which(), loop_factory=asyncio.EventLoop))"

RIVAL = (
    "import asyncio\nclass Loop(asyncio.SelectorEventLoop): pass\nLoop.__module__ = 'rival'\nnew_event_loop = Loop\n"
)


class TestTheLoop:
    @pytest.mark.parametrize("way", LOOPS)
    def test_every_way_leads_to_tepal(self, python: Run, tmp_path: Path, way: str) -> None:
        # uvicorn's "auto" takes uvloop when it can import it; here it can.
        write(tmp_path, "uvloop.py", RIVAL)
        write(tmp_path, "program.py", WHICH + LOOPS[way])
        done = python("-W", "error", "-m", "tepal", "run", "program.py")
        assert (done.returncode, done.stdout) == (0, "tepal\n"), done.stderr

    def test_what_is_asked_for_by_name_is_given(self, python: Run, tmp_path: Path) -> None:
        write(tmp_path, "uvloop.py", RIVAL)
        program = LOOPS["uvicorn auto"].replace("Config(app", "Config(app, loop='uvloop'")
        write(tmp_path, "program.py", f"{WHICH}{program}\nprint(asyncio.SelectorEventLoop.__module__)\n")
        done = python("-m", "tepal", "run", "program.py")
        assert done.stdout.split() == ["rival", "asyncio.unix_events"], done.stderr

    def test_nothing_is_imported_for_it(self, python: Run, tmp_path: Path) -> None:
        write(tmp_path, "program.py", "import sys; print('uvicorn' in sys.modules, 'multiprocessing' in sys.modules)")
        assert python("-m", "tepal", "run", "program.py").stdout == "False False\n"

    def test_no_trace_is_left_in_what_is_watched(self, python: Run, tmp_path: Path) -> None:
        look = "import {0}; print({0}.__loader__.__class__, {0}.__spec__.loader is {0}.__loader__)\n"
        write(
            tmp_path, "program.py", "".join(look.format(name) for name in ("uvicorn.config", "multiprocessing.spawn"))
        )
        assert python("-m", "tepal", "run", "program.py").stdout == python("program.py").stdout

    @pytest.mark.parametrize("module", [False, True], ids=["script", "module"])
    def test_processes_that_multiprocessing_starts(self, python: Run, tmp_path: Path, module: bool) -> None:
        write(
            tmp_path,
            "program.py",
            f"""
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
{WHICH}
class C: pass
def ask(c): return asyncio.run(which()), isinstance(c, C), sys.argv[1:]
if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            print(*pool.submit(ask, C()).result())
""",
        )
        done = python("-m", "tepal", "run", *(["-m", "program"] if module else ["program.py"]), "a")
        assert done.stdout == "tepal True ['a']\n" * 3, done.stderr

    def test_debug(self, python: Run, tmp_path: Path) -> None:
        write(
            tmp_path,
            "program.py",
            "import asyncio, sys\nasync def f(): return asyncio.get_running_loop().get_debug()\nprint(asyncio.run(f()), sys.argv)",
        )
        assert python("-m", "tepal", "run", "program.py", "--debug").stdout == "False ['program.py', '--debug']\n"
        assert python("-m", "tepal", "run", "--debug", "program.py").stdout == "True ['program.py']\n"
        assert python("-m", "tepal", "run", "--debug", "-m", "program", "x").stdout.startswith("True ")
        refused = python("-E", "-m", "tepal", "run", "--debug", "program.py")
        assert refused.returncode == 2
        assert "-E" in refused.stderr


class TestInstall:
    def test_importing_changes_nothing(self, python: Run, tmp_path: Path) -> None:
        write(
            tmp_path,
            "program.py",
            f"""
import asyncio, socket, ssl, selectors, signal, sys, threading
{WHICH}
def look():
    modules = [m for n, m in sys.modules.items() if n.partition(".")[0] in ("asyncio", "socket", "ssl", "selectors", "signal")]
    return {{(m.__name__, k): id(v) for m in modules for k, v in vars(m).items()}}, list(sys.meta_path), sys.excepthook
before = look()
import tepal
after = look()
print([k for k in before[0] if before[0][k] != after[0].get(k)], before[1:] == after[1:], asyncio.run(which()))
""",
        )
        assert python("program.py").stdout == "[] True asyncio\n"

    @pytest.mark.skipif(sys.version_info >= (3, 16), reason="Python 3.16 has no policies")
    def test_install(self, python: Run, tmp_path: Path) -> None:
        write(
            tmp_path,
            "program.py",
            f"{WHICH}\nimport tepal\ntepal.install(); tepal.install()\nprint(asyncio.run(which()))\n{LOOPS['new_event_loop']}",
        )
        done = python("-W", "error", "program.py")
        assert done.stdout == "tepal\ntepal\n", done.stderr

    def test_install_without_policies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "version_info", (3, 16, 0, "final", 0))
        with pytest.raises(RuntimeError, match=r"loop_factory=tepal\.new_event_loop"):
            tepal.install()
