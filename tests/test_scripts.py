"""What `make test` says is what happened: no part fails, crashes or stays silent unseen."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

CARGO = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
CARGO_RED = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("scripts_test", str(ROOT / "scripts/test"))
    spec = importlib.util.spec_from_loader("scripts_test", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "scripts_test", module)
    loader.exec_module(module)
    return module


def part(script: ModuleType, reader: str, output: str, code: int = 0) -> object:
    command = [sys.executable, "-c", f"import sys; print({output!r}); sys.exit({code})"]
    return script.Part(command, getattr(script, reader))


def close(script: ModuleType, capsys: pytest.CaptureFixture[str], **parts: object) -> tuple[int, str]:
    script.PARTS = parts
    code = script.main([])
    return code, capsys.readouterr().out.splitlines()[-1]


def test_parts_are_summed(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "rust": part(script, "read_cargo", f"{CARGO}\nwords\n\x1b[32m{CARGO}\x1b[0m"),
        "python": part(script, "read_pytest", "=== 5 passed, 2 skipped, 1 xfailed, 3 warnings in 61.2s (0:01:01) ==="),
        "conformance": part(
            script, "read_plain", "7 passed, 1 failed in a line above\n100 passed, 0 failed, 4 skipped\n"
        ),
    }
    assert close(script, capsys, **parts) == (0, "129 passed, 0 failed, 9 skipped")


@pytest.mark.parametrize(
    ("reader", "output", "code", "line"),
    [
        ("read_cargo", f"{CARGO}\n{CARGO_RED}", 101, "15 passed, 2 failed, 1 skipped"),
        ("read_cargo", "error: could not compile", 101, "0 passed, 1 failed, 0 skipped"),
        ("read_cargo", CARGO, 101, "12 passed, 1 failed, 1 skipped"),
        ("read_pytest", "== 2 failed, 5 passed, 1 error in 0.5s ==", 1, "5 passed, 3 failed, 0 skipped"),
        ("read_pytest", "== 1 passed, 2 errors in 0.5s ==", 1, "1 passed, 2 failed, 0 skipped"),
        ("read_pytest", "no tests ran in 0.01s", 5, "0 passed, 1 failed, 0 skipped"),
        ("read_pytest", "no tests ran in 0.01s", 0, "0 passed, 1 failed, 0 skipped"),
        ("read_pytest", "4 skipped in 0.01s", 0, "0 passed, 1 failed, 4 skipped"),
        ("read_pytest", "Timeout (0:02:00)!", 1, "0 passed, 1 failed, 0 skipped"),
        ("read_plain", "7 passed, 0 failed, 0 skipped\nTraceback", 1, "0 passed, 1 failed, 0 skipped"),
        ("read_plain", "7 passed, 0 failed, 0 skipped", 3, "7 passed, 1 failed, 0 skipped"),
        ("read_plain", "7 passed, 2 failed, 0 skipped", 0, "7 passed, 2 failed, 0 skipped"),
        ("read_plain", "", 0, "0 passed, 1 failed, 0 skipped"),
    ],
)
def test_nothing_goes_wrong_unseen(
    script: ModuleType, capsys: pytest.CaptureFixture[str], reader: str, output: str, code: int, line: str
) -> None:
    assert close(script, capsys, it=part(script, reader, output, code)) == (1, line)


def test_only_the_conformance_part_may_skip_all(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    skipped = part(script, "read_plain", "0 passed, 0 failed, 3 skipped")
    may = script.Part(skipped.command, skipped.read, may_skip_all=True)  # type: ignore[attr-defined]
    assert [name for name, real in script.PARTS.items() if real.may_skip_all] == ["conformance"]
    assert close(script, capsys, it=skipped) == (1, "0 passed, 1 failed, 3 skipped")
    assert close(script, capsys, it=may) == (0, "0 passed, 0 failed, 3 skipped")


def test_a_runner_that_does_not_start(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    missing = script.Part(["/nowhere/runner"], script.read_plain)
    assert close(script, capsys, it=missing) == (1, "0 passed, 1 failed, 0 skipped")


def test_an_unknown_part_is_refused(script: ModuleType) -> None:
    assert script.main(["rust", "roost"]) == 2


class TestCheckTools:
    """On a machine that has next to nothing: a PATH with the few commands that the script itself needs."""

    @pytest.fixture(autouse=True)
    def bare_machine(self, tmp_path: Path) -> None:
        self.bin = tmp_path / "bin"
        self.bin.mkdir()
        for name in ("bash", "sed", "sort", "head", "dirname"):
            found = shutil.which(name)
            assert found, name
            (self.bin / name).symlink_to(found)
        self.venv = tmp_path / "venv"

    def check(self, python: str = sys.executable, *more: str) -> str:
        """Return what the script complains about; nothing means that it is content."""
        command = [str(ROOT / "scripts/check-tools"), python, str(self.venv), *more]
        done = subprocess.run(command, env={"PATH": str(self.bin)}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1 if done.stderr else 0, "")
        assert done.stderr.count("\n") <= 1, "one sentence, one line"
        return done.stderr

    def fake(self, name: str, text: str = "", folder: Path | None = None) -> str:
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{self.bin}/bash\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def test_no_python(self) -> None:
        assert "no 'python-of-the-future' on the PATH" in self.check("python-of-the-future")

    def test_old_python(self) -> None:
        old = self.fake("python3", 'case $1 in --version) echo "Python 3.9.2";; *) exit 1;; esac')
        assert "is Python 3.9.2, tepal needs 3.11 or newer" in self.check(old)

    def test_python_that_makes_no_environment(self) -> None:
        poor = self.fake("python3", "case $2 in *venv*) exit 1;; esac")
        assert "apt install python3-venv" in self.check(poor)

    def test_environment_of_another_python(self) -> None:
        self.fake("python", 'echo "Python 3.11.99"', self.venv / "bin")
        assert "was made with Python 3.11.99" in self.check()

    def test_environment_whose_python_is_gone(self) -> None:
        (self.venv / "bin").mkdir(parents=True)
        (self.venv / "bin/python").symlink_to("/nowhere/python3")
        assert "is broken" in self.check()

    def test_rust(self) -> None:
        assert "Rust is missing" in self.check()
        self.fake("cargo")
        self.fake("rustc", 'echo "error: no default toolchain"; exit 1')
        assert "Rust does not start: 'rustc --version' says: error: no default toolchain" in self.check()
        self.fake("rustc", 'echo "rustc 1.60.0 (x)"')
        assert "Rust is too old: this is 1.60" in self.check()
        self.fake("rustc", 'echo "rustc 1.999.0 (x)"')
        assert "a linker is missing" in self.check()
        self.fake("cc")
        assert self.check() == ""

    def test_lint_without_its_tools(self) -> None:
        self.fake("cargo", "exit 101")
        self.fake("rustc", 'echo "rustc 1.999.0 (x)"')
        self.fake("cc")
        assert self.check() == ""
        assert "rustup component add rustfmt" in self.check(sys.executable, "lint")
        self.fake("cargo", "case $1 in fmt) exit 0;; *) exit 101;; esac")
        assert "rustup component add clippy" in self.check(sys.executable, "lint")
