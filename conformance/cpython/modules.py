"""Which of CPython's asyncio test modules are run, the longest first so that two jobs end together."""

MODULES = [
    "test_tasks",
    "test_events",
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
    "test_threads",
]
