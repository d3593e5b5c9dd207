"""Which Pythons are found, and that a run on all of them hides nothing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    title = "scripts_" + name.replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(title, str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(title, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, title, module)
    loader.exec_module(module)
    return module


class TestPythons:
    """On a machine of interpreters that only say who they are."""

    @pytest.fixture(autouse=True)
    def machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script = load(monkeypatch, "pythons")
        self.bin = tmp_path / "bin"
        self.pyenv = tmp_path / "pyenv"
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("PYENV_ROOT", str(self.pyenv))
        self.first = self.make(self.bin / "python3", "3.11.2")
        monkeypatch.setattr(sys, "executable", self.first)
        monkeypatch.setattr(self.script, "answer", lambda *_command: [])

    def make(self, path: Path, version: str, *, name: str = "CPython", venv: bool = True) -> str:
        number = [int(part) for part in version.split(".")[:2]]
        said = {"path": str(path), "name": name, "number": number, "version": version, "venv": venv}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\n")
        path.chmod(0o755)
        return str(path)

    def versions(self) -> list[str]:
        return [python.version for python in self.script.local()]

    def test_pyenv_in_order_and_the_rest_of_the_path(self) -> None:
        self.make(self.pyenv / "versions/3.13.1/bin/python3", "3.13.1")
        self.make(self.pyenv / "versions/3.9.1/bin/python3", "3.9.1")
        self.make(self.pyenv / "versions/3.12.4/bin/python3", "3.12.4")
        self.make(self.pyenv / "versions/pypy3.11/bin/python3", "3.11.9", name="PyPy")
        self.make(self.bin / "python3.14", "3.14.2")
        self.make(self.bin / "python3.15t", "3.15.0t")
        assert self.versions() == ["3.11.2", "3.12.4", "3.13.1", "3.14.2", "3.15.0t"]

    def test_the_path_adds_only_series_that_are_not_there(self) -> None:
        self.make(self.pyenv / "versions/3.13.1/bin/python3", "3.13.1")
        self.make(self.bin / "python3.13", "3.13.5")
        self.make(self.bin / "python3.13t", "3.13.5t")
        assert self.versions() == ["3.11.2", "3.13.1", "3.13.5t"]

    def test_what_does_not_work_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        broken = self.bin / "python3.12"
        broken.write_text("#!/bin/sh\nexit 1\n")
        broken.chmod(0o755)
        poor = self.make(self.bin / "python3.13", "3.13.5", venv=False)
        assert self.versions() == ["3.11.2"]
        said = capsys.readouterr().err.splitlines()
        assert said == [
            f"scripts/pythons: {broken} does not start, left out",
            f"scripts/pythons: {poor} cannot make a virtual environment, left out",
        ]

    def test_the_second_is_the_newest_other_with_a_gil(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["pythons", "--second"])
        assert self.script.main() == 0
        assert capsys.readouterr().out == ""
        self.make(self.pyenv / "versions/3.9.1/bin/python3", "3.9.1")
        wanted = self.make(self.pyenv / "versions/3.14.10/bin/python3", "3.14.10")
        self.make(self.pyenv / "versions/3.14.9/bin/python3", "3.14.9")
        self.make(self.bin / "python3.15t", "3.15.0t")
        assert self.script.main() == 0
        assert capsys.readouterr().out.strip() == wanted

    def test_all_says_how_each_is_reached(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        free = self.make(self.bin / "elsewhere", "3.14.2t")
        answers = {"free-threaded-python": [free], "debian-pythons": ["/usr/bin/python3.15\t3.15.2"]}
        monkeypatch.setattr(self.script, "answer", lambda command, _list: answers[Path(command).name])
        monkeypatch.setattr(sys, "argv", ["pythons", "--all"])
        assert self.script.main() == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{self.first}\t3.11.2\t",
            f"{free}\t3.14.2t\t",
            "/usr/bin/python3.15\t3.15.2\tdebian",
        ]


class TestAll:
    """`scripts/test-all` with commands in the place of `make test`."""

    @pytest.fixture(autouse=True)
    def script(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = load(monkeypatch, "test-all")
        self.asked: list[tuple[str, list[str]]] = []
        self.outputs: dict[str, tuple[str, int]] = {}

        def command(target: object, parts: list[str]) -> list[str]:
            version = target.version  # type: ignore[attr-defined]
            self.asked.append((version, parts))
            output, code = self.outputs[version]
            return [sys.executable, "-c", f"import sys; print({output!r}); sys.exit({code})"]

        targets = [self.module.Target(f"/bin/{version}", version, "") for version in ("3.11.2", "3.14.1", "3.14.1t")]
        monkeypatch.setattr(self.module, "listed", lambda: targets)
        monkeypatch.setattr(self.module.Target, "command", command)
        # (These commands run on the Python at hand, which may not know how to go without a GIL.)
        monkeypatch.setattr(self.module.Target, "environment", lambda _target: None)
        self.run: Callable[..., int] = lambda *arguments: self.start(monkeypatch, *arguments)

    def start(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["test-all", *arguments])
        code: int = self.module.main()
        return code

    def test_all_are_summed(self, capsys: pytest.CaptureFixture[str]) -> None:
        for version in ("3.11.2", "3.14.1", "3.14.1t"):
            self.outputs[version] = ("1 passed, 1 failed, 0 skipped\n5 passed, 0 failed, 2 skipped", 0)
        assert self.run() == 0
        assert capsys.readouterr().out.splitlines()[-1] == "15 passed, 0 failed, 6 skipped"
        own = ["python", "conformance"]
        assert self.asked == [("3.11.2", ["rust", *own]), ("3.14.1", own), ("3.14.1t", own)]

    @pytest.mark.parametrize(
        ("output", "code", "line"),
        [
            ("5 passed, 3 failed, 2 skipped\nmake: *** [Makefile:1: test] Error 1", 2, "5 passed, 3 failed, 2 skipped"),
            ("5 passed, 0 failed, 2 skipped", 2, "5 passed, 1 failed, 2 skipped"),
            ("could not compile", 2, "0 passed, 1 failed, 0 skipped"),
            ("nothing was said", 0, "0 passed, 1 failed, 0 skipped"),
        ],
    )
    def test_nothing_goes_wrong_unseen(
        self, capsys: pytest.CaptureFixture[str], output: str, code: int, line: str
    ) -> None:
        self.outputs["3.14.1t"] = (output, code)
        assert self.run("--only", "3.14t", "python") == 1
        assert capsys.readouterr().out.splitlines()[-1] == line
        assert self.asked == [("3.14.1t", ["python"])]

    def test_a_series_that_is_not_there_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("--only", "3.10") == 2
        assert "no Python 3.10 here" in capsys.readouterr().err
