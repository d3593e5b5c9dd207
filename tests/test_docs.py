"""The documents are true where a machine can tell: their Python runs, their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tepal

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("benches/*.md")]
)
BLOCKS = [
    pytest.param(match[1], id=f"{path.relative_to(ROOT)}-{number}")
    for path in DOCUMENTS
    for number, match in enumerate(re.finditer(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE), 1)
]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("source", BLOCKS)
def test_python_blocks_run(python: Run, tmp_path: Path, source: str) -> None:
    if "Python 3.12" in source and sys.version_info < (3, 12):
        pytest.skip("the block says that it needs Python 3.12")
    (tmp_path / "block.py").write_text(source)
    done = python("-W", "error", "block.py")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_public_name_has_an_example_that_runs() -> None:
    sources = "\n".join(block.values[0] for block in BLOCKS)  # type: ignore[misc]
    assert [name for name in tepal.__all__ if not re.search(rf"\b{name}\b", sources)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("name", [name for name in tepal.__all__ if not name.startswith("_")])
def test_whatever_is_ours_says_what_it_does(name: str) -> None:
    thing = getattr(tepal, name)
    assert (thing.__doc__ or "").strip(), name
    if not isinstance(thing, type):
        return
    for kind in thing.__mro__:
        if kind.__module__.partition(".")[0] == "tepal":
            methods = [
                method for method in vars(kind) if not method.startswith("_") and callable(getattr(kind, method))
            ]
            assert [method for method in methods if not (getattr(thing, method).__doc__ or "").strip()] == []
