"""The plan of the house, checked: no room takes from a room that it must not know.

`package -> border -> ground -> core`, and the border may also reach the core. The manifests say what a crate can take, the
imports what a Python file takes. What each room may is said once, in the tables below; ARCHITECTURE.md draws it.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

CRATES = {
    # Data structures only. A crate that is added here neither does I/O nor asks what time it is.
    "tepal-core": {"dary_heap", "memchr", "rustls", "slab", "smallvec"},
    # The ways to call the kernel, and the core's plain types.
    "tepal-sys": {"tepal-core", "rustix", "libc", "polling", "mio"},
    "tepal-python": {"tepal-core", "tepal-sys", "pyo3", "pyo3-build-config", "slab"},
}
"""What each crate may depend on, build dependencies included; for their tests crates may take what they like."""

CORE_BANS = re.compile(
    r"\bstd::(?:io|net|os|fs|env|process|thread)\b|\b(?:Instant|SystemTime)\b|\bunsafe\b(?!_code)|\bextern\s+\""
)
"""What the core's sources must not name: the kernel, the clock, threads, and `unsafe` itself."""

RAW_CALL = re.compile(r"\bffi::_?Py[A-Za-z]*_[A-Za-z_]*\s*\(")
"""A call of a function of the C API, as against naming one of its types."""

STILL_RAW = {"event_loop/mod.rs", "event_loop/run.rs", "event_loop/serve.rs", "stream/state.rs"}
"""Files of the border outside `raw/` that call the C API all the same. Each is to move there; none is to be added."""

ROOMS = ("tests", "conformance", "benches", "examples")
"""Who uses tepal as everybody does: through its public names."""

REPLACING = {"_accelerate.py", "_install.py", "_takeover.py"}
"""The only files that may put something in the place of a name that is not ours (design.md: asked for by name)."""


def test_the_house_stands() -> None:
    assert list(violations(ROOT)) == []


def test_the_house_is_looked_at() -> None:
    """A check that finds no file agrees with everything."""
    for pattern in ("crates/tepal-core/src/**/*.rs", "crates/tepal-python/src/raw/*.rs", "python/tepal/_*.py"):
        assert list(ROOT.glob(pattern)), pattern
    for room in ROOMS:
        assert list((ROOT / room).rglob("*.py")), room


# --- what can be wrong, one function for each kind of arrow -----------------------------------------------------------


def violations(root: Path) -> Iterator[str]:
    """Yield a line for every arrow that has turned round."""
    for check in (manifests, core_sources, border_sources, private_modules, doors, users):
        yield from check(root)


def manifests(root: Path) -> Iterator[str]:
    for crate, allowed in CRATES.items():
        path = root / "crates" / crate / "Cargo.toml"
        for name in dependencies(tomllib.loads(path.read_text())):
            if name not in allowed:
                yield f"{path.relative_to(root)}: {crate} must not depend on {name}"


def dependencies(manifest: dict[str, object]) -> Iterator[str]:
    """Name the crates a manifest takes, for any target, under their own names and not those it gives them."""
    for key, value in manifest.items():
        if key in ("dependencies", "build-dependencies") and isinstance(value, dict):
            for name, how in value.items():
                yield how.get("package", name) if isinstance(how, dict) else name
        elif key == "target" and isinstance(value, dict):
            for table in value.values():
                yield from dependencies(table)


def core_sources(root: Path) -> Iterator[str]:
    source = root / "crates/tepal-core/src"
    if "#![forbid(unsafe_code)]" not in (source / "lib.rs").read_text():
        yield "crates/tepal-core/src/lib.rs: does not forbid unsafe code"
    yield from named(root, source, CORE_BANS, "the core must not know")


def border_sources(root: Path) -> Iterator[str]:
    border = root / "crates/tepal-python/src"
    for path in sorted(border.rglob("*.rs")):
        calls = list(named(root, path, RAW_CALL, "only raw/ calls the C API:"))
        name = path.relative_to(border).as_posix()
        if name in STILL_RAW and not calls:
            yield f"{path.relative_to(root)}: calls the C API no more: take it off STILL_RAW"
        elif name not in STILL_RAW and not name.startswith("raw/"):
            yield from calls


def named(root: Path, where: Path, banned: re.Pattern[str], complaint: str) -> Iterator[str]:
    """Look for what is banned in Rust files; comments and the tests at a file's foot may say anything."""
    for path in [where] if where.is_file() else sorted(where.rglob("*.rs")):
        if path.stem == "tests" or "tests" in path.parts:
            continue
        text = path.read_text().partition("#[cfg(test)]")[0]
        for number, line in enumerate(text.splitlines(), start=1):
            for match in banned.finditer(line.partition("//")[0]):
                yield f"{path.relative_to(root)}:{number}: {complaint} {match[0]}"


def private_modules(root: Path) -> Iterator[str]:
    """Check `_*.py`: they take `_tepal`, private siblings, `abc` and the standard library, and leave others' names alone."""
    package = root / "python/tepal"
    for path in sorted(package.glob("_*.py")):
        if path.name == "__init__.py":
            continue
        place = path.relative_to(root)
        tree = ast.parse(path.read_text())
        for name in imports(tree):
            top = name.lstrip(".").partition(".")[0]
            if name.startswith("."):
                if not (top.startswith("_") or top == "abc"):
                    yield f"{place}: a private module must not import the public {name}"
            elif top not in sys.stdlib_module_names:
                yield f"{place}: the package must not import {top}"
        if path.name not in REPLACING:
            for line, name in replacements(tree):
                yield f"{place}:{line}: {name} is not ours to replace"


def doors(root: Path) -> Iterator[str]:
    """Check the public modules: re-exports and docstrings, no logic."""
    package = root / "python/tepal"
    for path in sorted(package.glob("*.py")):
        if path.name != "__init__.py" and path.name.startswith("_"):
            continue
        place = path.relative_to(root)
        for node in statements(ast.parse(path.read_text())):
            match node:
                case ast.Expr(value=ast.Constant(value=str())):
                    pass
                case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("__"):
                    pass
                case ast.ImportFrom(module=module, level=1, names=names) if (module or names[0].name).startswith("_"):
                    pass
                # Giving public things their public address, and the loop's variable back.
                case ast.For(body=[ast.Assign(targets=[ast.Attribute(attr="__module__")])]) | ast.Delete():
                    pass
                case ast.Import(names=[ast.alias(name="sys")]) | ast.ImportFrom(module="__future__", level=0):
                    pass
                case _:
                    yield f"{place}:{node.lineno}: a door holds no logic"


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Walk a door's statements; which names there are may depend on Python's version."""
    for node in tree.body:
        if isinstance(node, ast.If) and "sys.version_info" in ast.unparse(node.test):
            yield from node.body
            yield from node.orelse
        else:
            yield node


def users(root: Path) -> Iterator[str]:
    """Check those who use tepal from outside, the package's own `testing` among them: they take public names only."""
    for room in (*ROOMS, "python/tepal/testing"):
        for path in sorted((root / room).rglob("*.py")):
            tree = ast.parse(path.read_text())
            for name in imports(tree):
                if re.match(r"tepal\._(?!_)", name):
                    yield f"{path.relative_to(root)}: {name} is private to the package"
            for node in ast.walk(tree):
                match node:
                    case ast.Attribute(value=ast.Name(id="tepal"), attr=name) if re.match(r"_(?!_)", name):
                        yield f"{path.relative_to(root)}:{node.lineno}: tepal.{name} is private to the package"


def imports(tree: ast.Module) -> Iterator[str]:
    """Name what a file imports, relative ones with their dots; of `from . import a` and `from tepal import a` each name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if node.module is None:
                yield from (module + alias.name for alias in node.names)
            elif node.module == "tepal":
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module


def replacements(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Name the attributes of imported modules that a file assigns to, or sets by name."""
    modules = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    # The hook exists to be set, and what it reports is the program's end.
    allowed = {"sys.excepthook"}
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        match node:
            case ast.Assign():
                targets = node.targets
            case ast.AugAssign() | ast.AnnAssign():
                targets = [node.target]
            case ast.Call(func=ast.Name(id="setattr"), args=[ast.Name(id=name), *_]) if name in modules:
                yield node.lineno, f"{name}, by setattr,"
        for target in targets:
            if isinstance(target, ast.Attribute):
                name = ast.unparse(target)
                if name.partition(".")[0] in modules and name not in allowed:
                    yield node.lineno, name


# --- that each check can fail ---------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small house in which all is right, to break one thing in."""
    for path, text in {
        "crates/tepal-core/Cargo.toml": '[dependencies]\nsmallvec = "1"\n[dev-dependencies]\nproptest = "1"\n',
        "crates/tepal-core/src/lib.rs": "#![forbid(unsafe_code)]\n// std::thread, says a comment\n",
        "crates/tepal-sys/Cargo.toml": "[dependencies]\nrustix.workspace = true\ntepal-core = { path = '../tepal-core' }\n",
        "crates/tepal-sys/src/lib.rs": "use std::net;\n",
        "crates/tepal-python/Cargo.toml": '[dependencies]\npyo3 = "0.30"\ntepal-sys.workspace = true\n',
        "crates/tepal-python/src/lib.rs": "fn f(p: *mut ffi::PyObject) {}\n",
        "crates/tepal-python/src/raw/mod.rs": "fn f() { ffi::PyErr_Clear() }\n",
        "python/tepal/__init__.py": '"""Door."""\n\nfrom ._loop import EventLoop as EventLoop\n\n__version__ = "1"\n',
        "python/tepal/_loop.py": "import asyncio\nfrom . import _tepal\nfrom ._tepal import Loop\nclass EventLoop: x = 1\n",
        "tests/test_it.py": "import pytest\nimport aiohttp\nimport tepal\nfrom tepal import EventLoop\ntepal.__version__\n",
    }.items():
        write(tmp_path, path, text)
    assert list(violations(tmp_path)) == []
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def add(path: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        old = (root / path).read_text() if (root / path).exists() else ""
        write(root, path, old + text)

    return change


CORE, BORDER, FACE = "crates/tepal-core/src/lib.rs", "crates/tepal-python/src/lib.rs", "python/tepal/_loop.py"

BREAKS = {
    "core takes pyo3": (
        add("crates/tepal-core/Cargo.toml", '[build-dependencies]\npyo3 = "0.30"\n'),
        "must not depend on pyo3",
    ),
    "core takes the ground": (
        add("crates/tepal-core/Cargo.toml", "[target.'cfg(unix)'.dependencies]\ntepal-sys.workspace = true\n"),
        "must not depend on tepal-sys",
    ),
    "core takes libc under another name": (
        add("crates/tepal-core/Cargo.toml", "[target.x.dependencies]\nc = { package = 'libc', version = '0.2' }\n"),
        "must not depend on libc",
    ),
    "ground takes pyo3": (
        add("crates/tepal-sys/Cargo.toml", '[build-dependencies]\npyo3-build-config = "0.30"\n'),
        "must not depend on pyo3-build-config",
    ),
    "border takes the kernel": (
        add("crates/tepal-python/Cargo.toml", '[target.x.dependencies]\nrustix = "1"\n'),
        "must not depend on rustix",
    ),
    "core allows unsafe": (lambda root: write(root, CORE, ""), "does not forbid unsafe"),
    "core looks at the clock": (add(CORE, "use std::time::Instant;\n"), "must not know Instant"),
    "core starts a thread": (add(CORE, "fn f() { std::thread::yield_now() }\n"), "must not know std::thread"),
    "core does I/O, in a file of its own": (add("crates/tepal-core/src/a/b.rs", "use std::io::Read;"), "a/b.rs:1"),
    "border calls C outside its room": (add(BORDER, "fn g() { ffi::PyErr_Clear() }\n"), "only raw/ calls"),
    "border has moved its calls": (
        add("crates/tepal-python/src/stream/state.rs", "fn f() {}\n"),
        "take it off STILL_RAW",
    ),
    "face takes a stranger": (add(FACE, "def f():\n    import aiohttp\n"), "must not import aiohttp"),
    "face goes through the door": (add(FACE, "from tepal import EventLoop\n"), "must not import tepal"),
    "face takes a public sibling": (add(FACE, "from .testing import x\n"), "must not import the public .testing"),
    "face takes a public sibling by the package": (add(FACE, "from . import lowlevel\n"), "the public .lowlevel"),
    "face replaces a name": (add(FACE, "asyncio.run = None\n"), "asyncio.run is not ours"),
    "face replaces a name quietly": (add(FACE, "setattr(asyncio, 'run', None)\n"), "asyncio, by setattr, is not ours"),
    "door with a function": (add("python/tepal/__init__.py", "def f(): pass\n"), "holds no logic"),
    "door that runs": (add("python/tepal/extra.py", "print(1)\n"), "extra.py:1: a door holds no logic"),
    "door to the standard library": (add("python/tepal/__init__.py", "import asyncio\n"), "holds no logic"),
    "test takes a private module": (add("tests/test_it.py", "from tepal._loop import x\n"), "tepal._loop is private"),
    "test takes a private name": (
        add("tests/deep/test_it.py", "from tepal import _tepal\n"),
        "tepal._tepal is private",
    ),
    "test reaches for a private name": (add("tests/test_it.py", "tepal._tepal.Loop\n"), "tepal._tepal is private"),
    "conformance takes a private module": (add("conformance/a/b.py", "import tepal._loop\n"), "tepal._loop is private"),
    "testing takes a private module": (add("python/tepal/testing/x.py", "import tepal._x\n"), "tepal._x is private"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_turned_arrow_is_seen(house: Path, what: str) -> None:
    change, complaint = BREAKS[what]
    change(house)
    found = list(violations(house))
    assert len(found) == 1, found
    assert complaint in found[0]
