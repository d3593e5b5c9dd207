"""Which of CPython's asyncio test modules are run, the longest first so that two jobs end together.

Some modules are run a second time, under a name with a mark: those that speak TLS with the engine that goes through Python's own
session objects (`+bio`), those that test the classes of tasks and futures with ours in the place of the interpreter's (`+native`),
and those of asyncio's primitives with `tepal.accelerated()` (`+accelerated`).
"""

from __future__ import annotations

MODULES = [
    "test_tasks",
    "test_events",
    "test_sslproto",
    "test_ssl",
    "test_subprocess",
    "test_taskgroups",
    "test_sock_lowlevel",
    "test_unix_events",
    "test_streams",
    "test_runners",
    "test_locks",
    "test_queues",
    "test_waitfor",
    "test_sendfile",
    "test_eager_task_factory",
    "test_timeouts",
    "test_server",
    "test_staggered",
    "test_buffered_proto",
    "test_context",
    "test_futures",
    "test_futures2",
    "test_graph",
    "test_pep492",
    "test_free_threading",
    "test_threads",
]

TLS_MODULES = ["test_ssl", "test_sslproto", "test_streams", "test_events", "test_sendfile"]

NATIVE_MODULES = ["test_tasks", "test_futures"]
ACCELERATED_MODULES = [
    "test_locks",
    "test_queues",
    "test_timeouts",
    "test_waitfor",
    "test_taskgroups",
    "test_runners",
    "test_streams",
]
LOOPLESS = ["test_futures"]
"""Modules that make no loop of any kind: they are of interest only with classes of ours."""

ENGINES = ("both", "default", "bio")
"""What can be asked for: every TLS module on both engines, each module as it comes, or each with the other engine."""

BIO = "bio"
NATIVE = "native"
ACCELERATED = "accelerated"
OURS = (NATIVE, ACCELERATED)
"""Marks of runs that make no sense on another loop."""


def runs(modules: list[str], engine: str, *, native: bool = True) -> list[str]:
    """The names of the runs that the modules stand for, each with its mark if it has one."""
    if engine == "bio":
        return [f"{module}+{BIO}" for module in modules]
    marked = []
    for module in modules:
        if module not in LOOPLESS or not native:
            marked.append(module)
        if engine == "both" and module in TLS_MODULES:
            marked.append(f"{module}+{BIO}")
        if native and module in NATIVE_MODULES:
            marked.append(f"{module}+{NATIVE}")
        if native and module in ACCELERATED_MODULES:
            marked.append(f"{module}+{ACCELERATED}")
    return marked


def split(run: str) -> tuple[str, str]:
    """The module of a run, and its mark: "" for the module as it comes."""
    module, _, mark = run.partition("+")
    return module, mark
