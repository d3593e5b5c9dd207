"""The loop's methods on a supervisor, by one mechanism: a table says what of each call is watched, and what of it is owned.

A method that is not in the table is the loop's own (`time`, `getaddrinfo`, the `sock_*` methods): it makes nothing that would have
to be cleaned up. Those that end the loop or change it for everybody are not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._supervisor import Supervisor

Method = Callable[..., Any]

NOT_MIRRORED = frozenset(
    {
        *("close", "run_forever", "run_until_complete", "stop", "shutdown_asyncgens", "shutdown_default_executor"),
        *("set_default_executor", "set_exception_handler", "set_task_factory", "set_debug", "create_supervisor"),
    }
)
"""What would reach beyond the supervisor."""

PROTOCOL_METHODS = (
    *(
        "data_received",
        "eof_received",
        "buffer_updated",
        "get_buffer",
        "pause_writing",
        "resume_writing",
        "connection_lost",
    ),
    *("datagram_received", "error_received", "pipe_data_received", "pipe_connection_lost", "process_exited"),
)
"""What a loop calls on protocols, `connection_made` apart."""


def mirror(supervisor: Supervisor, name: str) -> Method:
    """Find a method of the supervisor's loop, as the supervisor has it.

    Args:
        supervisor: The supervisor.
        name: The method's name.

    Returns:
        The method.

    Raises:
        AttributeError: The loop has none of that name, or it is not the supervisor's to call.
    """
    if name in NOT_MIRRORED or name.startswith("_"):
        raise AttributeError(f"{name!r} is not a supervisor's: ask the loop")
    method: Method = getattr(supervisor.loop, name)
    make = _TABLE.get(name)
    return method if make is None else make(supervisor, method)


def _scheduling(at: int) -> Callable[[Supervisor, Method], Method]:
    """A callback stands at that place; the handle is owned until it has run."""

    def make(supervisor: Supervisor, method: Method) -> Method:
        def schedule(*arguments: Any, **keywords: Any) -> Any:
            supervisor._check_open()
            watched = _WatchedCall(supervisor, arguments[at])
            handle = method(*arguments[:at], watched, *arguments[at + 1 :], **keywords)
            watched.handle = handle
            supervisor._own_handle(handle)
            return handle

        return schedule

    return make


def _watching(undo: str) -> Callable[[Supervisor, Method], Method]:
    """A callback stands behind what it is called for; the registration is owned until it is taken back."""

    def make(supervisor: Supervisor, method: Method) -> Method:
        take_back: Method = getattr(supervisor.loop, undo)

        def watch(subject: Any, callback: Method, *arguments: Any) -> Any:
            supervisor._check_open()
            watched = _WatchedCall(supervisor, callback)
            # What has failed is not called again, though what it waits for is still there.
            watched.after_failure = lambda: take_back(subject)
            outcome = method(subject, watched, *arguments)
            supervisor._own((undo, subject), lambda _hard: take_back(subject))
            return outcome

        return watch

    return make


def _taking_back(supervisor: Supervisor, method: Method) -> Method:
    def take_back(subject: Any) -> Any:
        supervisor._disown((method.__name__, subject))
        return method(subject)

    return take_back


def _future(supervisor: Supervisor, method: Method) -> Method:
    """The future that is returned is owned until it has ended."""

    def make_future(*arguments: Any, **keywords: Any) -> Any:
        supervisor._check_open()
        future: asyncio.Future[Any] = method(*arguments, **keywords)
        supervisor._own(future, lambda _hard: future.cancel())
        future.add_done_callback(supervisor._disown)
        return future

    return make_future


def _connecting(supervisor: Supervisor, method: Method) -> Method:
    """A protocol factory stands first; the protocols are watched, and their transports owned until the connection is lost."""

    async def connect(protocol_factory: Method, *arguments: Any, **keywords: Any) -> Any:
        supervisor._check_open()
        made = await method(lambda: watched(supervisor, protocol_factory()), *arguments, **keywords)
        if supervisor._is_closing:
            transport = made[0]
            getattr(transport, "abort", transport.close)()
            supervisor._check_open()
        transport, protocol = made
        return transport, _own_of(protocol)

    return connect


def _listening(supervisor: Supervisor, method: Method) -> Method:
    """As `_connecting`; the server is owned, too."""

    async def listen(protocol_factory: Method, *arguments: Any, **keywords: Any) -> Any:
        supervisor._check_open()
        server = await method(lambda: watched(supervisor, protocol_factory()), *arguments, **keywords)
        supervisor._own(server, lambda _hard: server.close())
        return server

    return listen


def _upgrading(supervisor: Supervisor, method: Method) -> Method:
    """The protocol goes on over another transport, which is owned in the place of the one it had."""

    async def upgrade(transport: Any, protocol: Any, *arguments: Any, **keywords: Any) -> Any:
        supervisor._check_open()
        supervisor._disown(transport)
        watching = watched(supervisor, protocol)
        upper = await method(transport, watching, *arguments, **keywords)
        watching._tepal_watch.transport = upper
        supervisor._own_transport(upper)
        return upper

    return upgrade


_TABLE: dict[str, Callable[[Supervisor, Method], Method]] = {
    "call_soon": _scheduling(0),
    "call_soon_threadsafe": _scheduling(0),
    "call_later": _scheduling(1),
    "call_at": _scheduling(1),
    "add_reader": _watching("remove_reader"),
    "add_writer": _watching("remove_writer"),
    "add_signal_handler": _watching("remove_signal_handler"),
    "remove_reader": _taking_back,
    "remove_writer": _taking_back,
    "remove_signal_handler": _taking_back,
    "create_future": _future,
    "run_in_executor": _future,
    "create_connection": _connecting,
    "create_unix_connection": _connecting,
    "create_datagram_endpoint": _connecting,
    "connect_accepted_socket": _connecting,
    "connect_read_pipe": _connecting,
    "connect_write_pipe": _connecting,
    "subprocess_exec": _connecting,
    "subprocess_shell": _connecting,
    "create_server": _listening,
    "create_unix_server": _listening,
    "start_tls": _upgrading,
}


class _WatchedCall:
    """A callback whose exception is the supervisor's."""

    __slots__ = ("after_failure", "callback", "handle", "supervisor")

    def __init__(self, supervisor: Supervisor, callback: Method) -> None:
        if not callable(callback):
            raise TypeError(f"a callable object was expected, got {callback!r}")
        self.supervisor = supervisor
        self.callback = callback
        self.handle: asyncio.Handle | None = None
        self.after_failure: Callable[[], object] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self.handle is not None:
            self.supervisor._disown(self.handle)
        try:
            return self.callback(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 (it arrives at the block)
            if self.after_failure is not None:
                self.after_failure()
            self.supervisor._fail(error)
            return None

    def __repr__(self) -> str:
        return f"<{self.callback!r} for {self.supervisor!r}>"


class _Watch:
    """A protocol whose exceptions are the supervisor's, and whose transport it owns."""

    __slots__ = ("supervisor", "transport")

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.transport: Any = None

    def begin(self, original: Method, transport: Any) -> None:
        self.transport = transport
        self.supervisor._own_transport(transport)
        self.call("connection_made", original, transport)

    def call(self, name: str, original: Method, *arguments: Any) -> Any:
        try:
            return original(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.supervisor._fail(error)
            if self.transport is not None and name != "connection_lost":
                # As asyncio's transports do: nothing more is told to a protocol that has failed, but that it has ended.
                getattr(self.transport, "abort", self.transport.close)()
            if name == "get_buffer":
                raise  # there is nothing that could be answered instead
            return None
        finally:
            if name == "connection_lost":
                self.supervisor._disown(self.transport)


def watched(supervisor: Supervisor, protocol: Any) -> Any:
    """Watch a protocol: what its methods raise arrives at the supervisor.

    Args:
        supervisor: The supervisor.
        protocol: The protocol, whose methods are replaced on the instance.

    Returns:
        The protocol; a stand-in for it, if nothing can be put on the instance because its class has ``__slots__``.
    """
    if getattr(protocol, "_tepal_watch", None) is not None:
        return protocol
    watch = _Watch(supervisor)
    watching = protocol
    try:
        protocol._tepal_watch = watch
    except AttributeError:
        watching = _stand_in(protocol)
        watching._tepal_watch = watch
    if (made := getattr(protocol, "connection_made", None)) is not None:
        watching.connection_made = lambda transport: watch.begin(made, transport)
    for name in PROTOCOL_METHODS:
        if (original := getattr(protocol, name, None)) is not None:
            setattr(watching, name, _method(watch, name, original))
    return watching


def _method(watch: _Watch, name: str, original: Method) -> Method:
    return lambda *arguments: watch.call(name, original, *arguments)


class _StandIn:
    """Answers for a protocol that has no room for what watches it."""

    _original: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


_KINDS = (asyncio.BufferedProtocol, asyncio.Protocol, asyncio.DatagramProtocol, asyncio.SubprocessProtocol)


def _stand_in(protocol: Any) -> Any:
    # Of the same kind: loops ask which.
    kinds = tuple(kind for kind in _KINDS if isinstance(protocol, kind))
    stand_in = type("WatchedProtocol", (_StandIn, *kinds), {})()
    stand_in._original = protocol
    return stand_in


def _own_of(protocol: Any) -> Any:
    """The protocol that a program made."""
    return protocol._original if isinstance(protocol, _StandIn) else protocol
