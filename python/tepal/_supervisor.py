"""`Supervisor`: whatever is made through it belongs to it, and an error in any of it arrives at its block.

The talk's `loop.create_supervisor()`. Tasks are a nursery's; all else stands in a list, in the order in which it was made.
`_mirror.py` has the loop's methods, `_restarts.py` the children that are begun again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from ._mirror import mirror
from ._nursery import Nursery
from ._restarts import Backoff, Child, Children, Restart, Strategy
from ._scopes import shield
from ._sync import Event
from ._tepal import CancelScope, wait

T = TypeVar("T")

Policy = Literal["fail", "isolate"]

SHUTDOWN = 5.0
"""Seconds that each thing has to end, if nobody says otherwise (Erlang's)."""


class SupervisorStatistics(NamedTuple):
    """How a `Supervisor` stands."""

    tasks: int
    """Tasks that have not ended."""
    owned: int
    """Other things that are open: handles, futures, transports, servers, registrations, context managers, supervisors."""
    errors: int
    """Errors so far."""
    closing: bool
    """It takes nothing more."""


class _Owned(NamedTuple):
    order: int
    """How many tasks had been made before."""
    close: Callable[[bool], object]
    """Closes it; hard, if that is asked for."""
    gone: Event | None
    """Set when it is gone; None for what is when it is closed."""


if TYPE_CHECKING:

    class _Mirror(asyncio.BaseEventLoop):
        """To a type checker a supervisor has a loop's methods."""

else:

    class _Mirror:
        __slots__ = ()


class Supervisor(_Mirror):
    """Owns what is made through it, and cleans it up.

    ``async with tepal.open_supervisor() as sup:`` (or ``loop.create_supervisor()``) has the methods of the loop: ``call_soon``,
    ``call_later``, ``create_future``, ``create_task``, ``create_connection``, ``create_server``, ``add_reader``,
    ``subprocess_exec`` and the others, with their arguments. It may be passed on, to coroutines, callbacks and protocols.

    What leaves a callback, a protocol's method or a task as an exception ends it: its block is cancelled, everything that it owns
    is cancelled, closed or aborted, the last first, and the errors arrive at the block as an ExceptionGroup. When the block ends
    well it waits for its tasks, and then closes the rest.

    Leaving the block is a checkpoint if there is anything to wait for.
    """

    def __init__(
        self,
        *,
        policy: Policy = "fail",
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within: float = 5.0,
        backoff: Backoff | None = None,
        shutdown: float = SHUTDOWN,
    ) -> None:
        """Make a supervisor; see `open_supervisor`."""
        if policy not in ("fail", "isolate"):
            raise ValueError(f"policy must be 'fail' or 'isolate', not {policy!r}")
        if not shutdown >= 0:
            raise ValueError(f"shutdown must be a non-negative number of seconds, not {shutdown!r}")
        self._policy = policy
        self._shutdown = shutdown
        self._nursery = Nursery()
        # (The book of restarts is made for the first child: most supervisors have none.)
        self._restarts = Children.checked(strategy, max_restarts, within, backoff or Backoff())
        self._children: Children | None = None
        self._owned: dict[Any, _Owned] = {}
        self._sweep_at = 64
        # Tasks of its own, which end when it tells them.
        self._hosts: set[asyncio.Task[Any]] = set()
        self._scope = CancelScope()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closing = False

    # ---------------------------------------------------------------------------------------------- the block

    async def __aenter__(self) -> Supervisor:
        """Begin the block."""
        await self._nursery.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._nursery._set_failure_scope(self._scope)
        if self._policy == "fail":
            # Without a call in between: it is the nursery's own.
            self.create_task = self._nursery._create_task  # type: ignore[method-assign, assignment]
        self._scope.__enter__()
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        """End the block: wait for the tasks, or stop them; close the rest; raise the errors."""
        own = error
        try:
            if self._scope.__exit__(kind, error, traceback):
                error = None
        except BaseException as rest:  # noqa: BLE001 (what is left of a group)
            error = rest
        if error is None and not self._scope.cancel_called:
            error = await self._join()
        self._is_closing = True
        await self._clean_up(hard=error is not None or bool(self._nursery._errors()))
        swallows = await self._nursery.__aexit__(type(error) if error else None, error, traceback)
        if error is not None and error is not own and not swallows:
            raise error
        return swallows or error is not own

    async def _join(self) -> BaseException | None:
        """Wait for the tasks; what broke the wait off, if that was not a failure or `close`."""
        try:
            with CancelScope() as self._scope:
                self._nursery._set_failure_scope(self._scope)
                while (ended := self._ended()) is not None:
                    await ended
        except asyncio.CancelledError as cancelled:
            return cancelled
        return None

    def _ended(self) -> Awaitable[object] | None:
        """What is to be waited for before tasks can have ended; None when they have."""
        if not self._hosts:
            return self._nursery._when_empty()
        if tasks := [task for _, task in self._nursery._ordered() if task not in self._hosts]:
            return wait(tasks)
        return self._children.settled() if self._children is not None else None

    # ----------------------------------------------------------------------------------------------- the loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs on.

        Raises:
            RuntimeError: Its block has not begun.
        """
        if self._loop is None:
            raise RuntimeError("the supervisor has not been entered: use 'async with tepal.open_supervisor() as sup:'")
        return self._loop

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Find a method of the loop, as this supervisor has it."""
            method = mirror(self, name)
            setattr(self, name, method)
            return method

    def __dir__(self) -> list[str]:
        """List the loop's methods, too."""
        return sorted({*object.__dir__(self), *dir(asyncio.AbstractEventLoop)})

    def create_task(self, coro: Any, **keywords: Any) -> asyncio.Task[Any]:
        """Run a coroutine in a task of the supervisor.

        Args:
            coro: The coroutine.
            **keywords: ``name`` and ``context``.

        Returns:
            The task.

        Raises:
            RuntimeError: The supervisor is not open.

        Not a checkpoint.
        """
        self._check_open()
        return self._nursery._create_task(self._isolated(coro), **keywords)

    async def _isolated(self, coro: Coroutine[Any, Any, T]) -> T | None:
        try:
            return await coro
        except Exception as error:  # noqa: BLE001 (it is reported, and touches nobody else)
            self._fail(error)
            return None

    # ------------------------------------------------------------------------------ what only a supervisor has

    async def enter(self, manager: AbstractAsyncContextManager[T] | AbstractContextManager[T]) -> T:
        """Enter a context manager, and leave it when the supervisor ends, in a task of its own.

        So any task may use it and end, and scopes and nurseries inside it are left where they were entered. It is left earlier by
        `leave`. What it raises in between, or on its way out, is the supervisor's.

        Args:
            manager: An asynchronous context manager, or an ordinary one.

        Returns:
            What entering it returns.

        Raises:
            RuntimeError: The supervisor is not open.
            BaseException: What entering it raises.

        A checkpoint.
        """
        self._check_open()
        stop, gone = Event(), Event()
        order = self._nursery._made
        value = await self._nursery.start(self._host, manager, stop, gone)
        self._owned[_Hosted(value)] = _Owned(order, lambda _hard: stop.set(), gone)
        return value  # type: ignore[no-any-return]

    async def _host(self, manager: Any, stop: Event, gone: Event, *, task_status: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._hosts.add(task)
        try:
            if hasattr(manager, "__aenter__"):
                async with manager as value:
                    task_status.started(value)
                    await stop.wait()
            else:
                with manager as value:
                    task_status.started(value)
                    await stop.wait()
        finally:
            gone.set()
            self._hosts.discard(task)

    async def leave(self, value: object) -> None:
        """Leave a context manager before the supervisor ends.

        Args:
            value: What `enter` returned.

        Raises:
            LookupError: The supervisor has entered none that returned it.

        A checkpoint.
        """
        owned = self._owned.pop(_Hosted(value), None)
        if owned is None or owned.gone is None:
            raise LookupError(f"the supervisor hosts no context manager that returned {value!r}")
        owned.close(False)
        await owned.gone.wait()

    def child(
        self,
        async_fn: Callable[..., Coroutine[Any, Any, object]],
        *args: object,
        restart: Restart = "permanent",
        shutdown: float | None = None,
        name: str | None = None,
    ) -> Child:
        """Run an async function, and begin it again when it ends; Erlang's child.

        Args:
            async_fn: The function.
            args: Its arguments.
            restart: Which ends are answered by a restart: ``"permanent"`` all, ``"transient"`` failures, ``"temporary"`` none.
                Failures that are, and those of temporary children, are reported to the loop's exception handler. More restarts
                than `max_restarts` within `within` seconds end the supervisor with the last failure.
            shutdown: Seconds that it has to end when it is stopped; the supervisor's, if none.
            name: The name of its tasks.

        Returns:
            The child, which can be stopped.

        Raises:
            RuntimeError: The supervisor is not open.
            ValueError: `restart` is none of these.

        Not a checkpoint.
        """
        self._check_open()
        limit = self._shutdown if shutdown is None else shutdown
        if self._children is None:
            self._children = Children(self, self._restarts)
        return self._children.add(async_fn, args, restart, limit, name)

    def create_supervisor(self, **options: Any) -> AbstractAsyncContextManager[Supervisor]:
        """Make a supervisor below this one: closed with it, in its place among what this one owns.

        Args:
            **options: As `open_supervisor`.

        Returns:
            What ``async with`` enters.

        Not a checkpoint.
        """
        return _Below(self, Supervisor(**options))

    def close(self) -> None:
        """End the supervisor without an error: its block and its tasks are cancelled, and everything is closed.

        Not a checkpoint. It may be called from any thread.
        """
        self._scope.cancel("the supervisor was closed")

    def statistics(self) -> SupervisorStatistics:
        """Return how it stands. Not a checkpoint."""
        errors = len(self._nursery._errors())
        return SupervisorStatistics(len(self._nursery.child_tasks), len(self._owned), errors, self._is_closing)

    def __repr__(self) -> str:
        """Show how it stands."""
        tasks, owned, errors, closing = self.statistics()
        return f"<tepal.Supervisor tasks={tasks} owned={owned} errors={errors}{' closing' if closing else ''}>"

    # ---------------------------------------------------------------------------------------------- ownership

    def _check_open(self) -> None:
        if self._loop is None or self._is_closing:
            self.loop  # noqa: B018 (says that it was not entered)
            raise RuntimeError("the supervisor is closed")

    def _own(self, key: Any, close: Callable[[bool], object], gone: Event | None = None) -> None:
        self._owned[key] = _Owned(self._nursery._made, close, gone)

    def _own_handle(self, handle: asyncio.Handle) -> None:
        self._own(handle, lambda _hard: handle.cancel())
        # A handle says nobody that it was cancelled: those are swept out when there may be as many of them as of others.
        if len(self._owned) > self._sweep_at:
            for key in [key for key in self._owned if isinstance(key, asyncio.Handle) and key.cancelled()]:
                del self._owned[key]
            self._sweep_at = 2 * len(self._owned) + 64

    def _own_transport(self, transport: Any) -> None:
        def close(hard: bool) -> None:
            if hard:
                getattr(transport, "abort", transport.close)()
            else:
                transport.close()

        self._own(transport, close, Event())
        if self._is_closing:
            close(True)

    def _disown(self, key: Any) -> None:
        owned = self._owned.pop(key, None)
        if owned is not None and owned.gone is not None:
            owned.gone.set()

    def _fail(self, error: BaseException) -> None:
        """Something that belongs to the supervisor raised."""
        if self._policy == "isolate" and isinstance(error, Exception):
            self._report("something failed that belongs to an isolating supervisor", error)
        else:
            self._nursery._fail(error)

    def _report(self, message: str, error: BaseException | None = None, task: asyncio.Task[Any] | None = None) -> None:
        context: dict[str, Any] = {"message": f"{message}: {self!r}"}
        if error is not None:
            context["exception"] = error
        if task is not None:
            context["task"] = task
        # In a turn of its own: this may be a task's last step, whose context is entered.
        self.loop.call_soon(self.loop.call_exception_handler, context)

    # ----------------------------------------------------------------------------------------------- clean-up

    async def _clean_up(self, *, hard: bool) -> None:
        """Close everything, the last first. Nothing has longer than its time, so this always ends."""
        if not self._owned and not self._nursery.child_tasks:
            return
        with shield():
            if self._children is not None:
                self._children.end()
            stopped: set[asyncio.Task[Any]] = set()
            while True:
                key, owned = next(reversed(self._owned.items()), (None, None))
                after = owned.order if owned is not None else 0
                tasks = [task for order, task in sorted(self._nursery._ordered(), key=_first) if order >= after]
                tasks = [task for task in tasks if task not in self._hosts and task not in stopped]
                if tasks:
                    stopped.update(tasks)
                    await self._stop(tasks, self._shutdown)
                elif owned is not None:
                    self._owned.pop(key, None)
                    await self._close(key, owned, hard=hard)
                else:
                    break
            if left := self._nursery.child_tasks:
                self._nursery.cancel_scope.cancel("the supervisor ends")
                await wait(left, timeout=self._shutdown)
            for task in self._nursery.child_tasks:
                self._report(f"task {task.get_name()} did not stop within {self._shutdown:g} seconds", task=task)
            self._nursery._abandon()

    async def _stop(self, tasks: list[asyncio.Task[Any]], limit: float) -> bool:
        """Cancel tasks, the last first, and wait for them; whether they have ended."""
        for task in reversed(tasks):
            task.cancel()
        _, left = await wait(tasks, timeout=limit)
        return not left

    async def _close(self, key: Any, owned: _Owned, *, hard: bool) -> None:
        try:
            owned.close(hard)
        except Exception as error:  # noqa: BLE001 (it arrives with the others)
            self._nursery._fail(error)
            return
        if owned.gone is None:
            return
        self._owned[key] = owned  # what tells that it is gone looks for it here
        if not await self._is_gone(owned):
            owned.close(True)
            if not await self._is_gone(owned):
                self._report(f"{key!r} did not close within {self._shutdown:g} seconds")
        self._owned.pop(key, None)

    async def _is_gone(self, owned: _Owned) -> bool:
        assert owned.gone is not None
        with CancelScope(relative_deadline=self._shutdown):
            await owned.gone.wait()
        return owned.gone.is_set()


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


class _Hosted:
    """The key of a hosted context manager: what it returned, by identity."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hosted) and other.value is self.value

    def __repr__(self) -> str:
        return f"the context manager of {self.value!r}"


class _Below:
    """A supervisor as one of the things that another owns."""

    def __init__(self, above: Supervisor, supervisor: Supervisor) -> None:
        self._above = above
        self._supervisor = supervisor

    async def __aenter__(self) -> Supervisor:
        self._above._check_open()
        await self._supervisor.__aenter__()
        self._above._own(self._supervisor, lambda _hard: self._supervisor.close(), Event())
        return self._supervisor

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        try:
            return await self._supervisor.__aexit__(kind, error, traceback)
        finally:
            self._above._disown(self._supervisor)


def open_supervisor(
    *,
    policy: Policy = "fail",
    strategy: Strategy = "one_for_one",
    max_restarts: int = 3,
    within: float = 5.0,
    backoff: Backoff | None = None,
    shutdown: float = SHUTDOWN,
) -> Supervisor:
    """Open a supervisor: ``async with tepal.open_supervisor() as sup:``; ``loop.create_supervisor()`` is the same.

    Args:
        policy: ``"fail"``: the first error ends it. ``"isolate"``: an error is reported to the loop's exception handler and touches
            nothing else.
        strategy: Which other children are begun again with one that has ended (`Supervisor.child`): ``"one_for_one"`` none,
            ``"one_for_all"`` all, ``"rest_for_one"`` those that were begun after it.
        max_restarts: How many restarts within that time are not too many.
        within: Seconds.
        backoff: How long to wait before a restart; not at all, if not given.
        shutdown: Seconds that each thing has to end when it is closed; what has not ended then is aborted, and named to the
            loop's exception handler when that does not help.

    Raises:
        ValueError: An option is none.

    Not a checkpoint.
    """
    return Supervisor(
        policy=policy, strategy=strategy, max_restarts=max_restarts, within=within, backoff=backoff, shutdown=shutdown
    )
