"""Which Pythons are tested, and how each of them finds the loop: a virtual environment with our wheel and nothing else."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Interpreter:
    """One tested Python."""

    base: str
    version: str
    python: str
    """The executable of its virtual environment."""
    dev: bool = False
    """Run in Python's development mode, in which asyncio is in debug mode from the start."""


class Unprepared(Exception):
    """An interpreter could not be made ready; the message says why."""


def choose(wanted: list[str]) -> list[tuple[str, str]]:
    """Return path and version of the interpreters to test, `scripts/pythons` deciding when none is named."""
    if not wanted:
        lines = subprocess.check_output([sys.executable, ROOT / "scripts" / "pythons"], text=True).splitlines()
        return [(path, version) for path, _, version in (line.partition("\t") for line in lines)]
    question = (
        "import platform, sysconfig;"
        "print(platform.python_version() + ('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''))"
    )
    return [(path, subprocess.check_output([path, "-I", "-c", question], text=True).strip()) for path in wanted]


def prepare(
    base: str,
    version: str,
    *,
    loop: str,
    venvs: Path,
    wheels: Path,
    dev: bool = False,
    requirements: Path | None = None,
) -> Interpreter:
    """Make the virtual environment when there is none and put the current wheel into it.

    Args:
        base: The Python it is made from.
        version: The version of that.
        loop: What will be tested; tepal's wheel is built and installed for no other.
        venvs: The folder of the environments.
        wheels: The folder of the wheels.
        dev: Run it in Python's development mode.
        requirements: What else is installed; such an environment is named for the folder of this file.

    Raises:
        Unprepared: The environment or the wheel could not be made.
    """
    venv = venvs / (f"{version}-{requirements.parent.name}" if requirements else version)
    python = venv / "bin" / "python"
    if not works(python):
        command([base, "-m", "venv", "--clear", str(venv)], f"no virtual environment for {base}")
    if requirements:
        require(python, requirements, venv / "requirements")
    if loop == "tepal":
        install(python, build(base, wheels), venv / "tepal-wheel")
    return Interpreter(base, version, str(python), dev)


def works(python: Path) -> bool:
    """A virtual environment dies with the interpreter it was made from."""
    try:
        return subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def build(base: str, wheels: Path) -> Path:
    script = [sys.executable, str(ROOT / "scripts" / "build_wheels"), "--wheel-dir", str(wheels), "--python", base]
    done = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Unprepared(f"no wheel for {base}, see above")
    return Path(done.stdout.splitlines()[-1])


def install(python: Path, wheel: Path, stamp: Path) -> None:
    # A build of the same version has the same file name, so its time says whether it is the one installed.
    mark = f"{wheel.resolve()} {wheel.stat().st_mtime_ns}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == mark:
        return
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--force-reinstall"]
    command([str(python), "-m", "pip", "install", *options, str(wheel)], f"cannot install {wheel.name}")
    stamp.write_text(mark, encoding="utf-8")


def require(python: Path, requirements: Path, stamp: Path) -> None:
    wanted = requirements.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--requirement", str(requirements)]
    command([str(python), "-m", "pip", "install", *options], f"cannot install {requirements}")
    stamp.write_text(wanted, encoding="utf-8")


def command(words: list[str], trouble: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unprepared(f"{trouble}: {done.stderr.strip() or done.stdout.strip()}")
