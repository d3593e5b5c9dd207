"""Which of CPython's asyncio test modules are run, the longest first so that two jobs end together.

A loop may have more than one engine for TLS. Modules that speak TLS are then run a second time, under a name with a mark, with
the engine that goes through Python's own session objects.
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
    "test_futures2",
    "test_pep492",
    "test_free_threading",
    "test_threads",
]

TLS_MODULES = ["test_ssl", "test_sslproto", "test_streams", "test_events", "test_sendfile"]

ENGINES = ("both", "default", "bio")
"""What can be asked for: every TLS module on both engines, each module as it comes, or each with the other engine."""

MARK = "+bio"


def with_engines(modules: list[str], engine: str) -> list[str]:
    """The names of the runs that the modules stand for, each with its mark if it has one."""
    if engine == "bio":
        return [module + MARK for module in modules]
    runs = []
    for module in modules:
        runs.append(module)
        if engine == "both" and module in TLS_MODULES:
            runs.append(module + MARK)
    return runs


def split(run: str) -> tuple[str, str]:
    """The module of a run, and the engine: "" for the one that the loop chooses."""
    return (run.removesuffix(MARK), "bio") if run.endswith(MARK) else (run, "")
