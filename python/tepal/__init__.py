"""tepal: asyncio, finished.

An event loop for asyncio programs, written in Rust. Importing it changes nothing; ask for it by name:

- ``tepal.run(main())`` runs a program on it,
- ``asyncio.run(main(), loop_factory=tepal.new_event_loop)`` does so with asyncio's own runner (Python 3.12+),
- ``tepal run app.py`` runs an unchanged program on it.

asyncio's primitives are here, too, native: ``from tepal import Queue, Lock, timeout``.
"""

from ._accelerate import accelerated as accelerated
from ._channels import Broadcast as Broadcast
from ._channels import BroadcastStatistics as BroadcastStatistics
from ._channels import BrokenResourceError as BrokenResourceError
from ._channels import ChannelStatistics as ChannelStatistics
from ._channels import ClosedResourceError as ClosedResourceError
from ._channels import EndOfChannel as EndOfChannel
from ._channels import WouldBlock as WouldBlock
from ._install import install as install
from ._interrupts import SignalReceiver as SignalReceiver
from ._interrupts import open_signal_receiver as open_signal_receiver
from ._interrupts import wait_for_interrupt as wait_for_interrupt
from ._limiter import CapacityLimiter as CapacityLimiter
from ._limiter import CapacityLimiterStatistics as CapacityLimiterStatistics
from ._loop import EventLoop as EventLoop
from ._loop import new_event_loop as new_event_loop
from ._nursery import Nursery as Nursery
from ._nursery import NurseryStatistics as NurseryStatistics
from ._nursery import TaskStatus as TaskStatus
from ._nursery import open_nursery as open_nursery
from ._restarts import Backoff as Backoff
from ._restarts import Child as Child
from ._run import Runner as Runner
from ._run import run as run
from ._scopes import Cancelled as Cancelled
from ._scopes import shield as shield
from ._server import Server as Server
from ._streams import StreamReader as StreamReader
from ._streams import StreamReaderProtocol as StreamReaderProtocol
from ._streams import StreamWriter as StreamWriter
from ._streams import open_connection as open_connection
from ._streams import open_unix_connection as open_unix_connection
from ._streams import start_server as start_server
from ._streams import start_unix_server as start_unix_server
from ._supervisor import Supervisor as Supervisor
from ._supervisor import SupervisorStatistics as SupervisorStatistics
from ._supervisor import open_supervisor as open_supervisor
from ._sync import Barrier as Barrier
from ._sync import BarrierStatistics as BarrierStatistics
from ._sync import BoundedSemaphore as BoundedSemaphore
from ._sync import Condition as Condition
from ._sync import ConditionStatistics as ConditionStatistics
from ._sync import Event as Event
from ._sync import EventStatistics as EventStatistics
from ._sync import LifoQueue as LifoQueue
from ._sync import Lock as Lock
from ._sync import LockStatistics as LockStatistics
from ._sync import PriorityQueue as PriorityQueue
from ._sync import Queue as Queue
from ._sync import QueueEmpty as QueueEmpty
from ._sync import QueueFull as QueueFull
from ._sync import QueueShutDown as QueueShutDown
from ._sync import QueueStatistics as QueueStatistics
from ._sync import Semaphore as Semaphore
from ._sync import SemaphoreStatistics as SemaphoreStatistics
from ._task_group import TaskGroup as TaskGroup
from ._task_group import TaskGroupStatistics as TaskGroupStatistics
from ._tepal import CancelScope as CancelScope
from ._tepal import Future as Future
from ._tepal import Handle as Handle
from ._tepal import ReceiveChannel as ReceiveChannel
from ._tepal import SendChannel as SendChannel
from ._tepal import Task as Task
from ._tepal import Timeout as Timeout
from ._tepal import TimerHandle as TimerHandle
from ._tepal import __version__ as __version__
from ._tepal import current_effective_deadline as current_effective_deadline
from ._tepal import current_scope as current_scope
from ._tepal import fail_after as fail_after
from ._tepal import fail_at as fail_at
from ._tepal import move_on_after as move_on_after
from ._tepal import move_on_at as move_on_at
from ._tepal import open_channel as open_channel
from ._tepal import timeout_at as timeout_at
from ._threads import Portal as Portal
from ._threads import open_portal as open_portal
from ._threads import to_thread as to_thread
from ._together import Results as Results
from ._together import amap as amap
from ._together import join as join
from ._together import race as race
from ._universal import UniversalEvent as UniversalEvent
from ._universal import UniversalLock as UniversalLock
from ._universal import UniversalQueue as UniversalQueue
from ._universal import UniversalStatistics as UniversalStatistics
from ._waiting import as_completed as as_completed
from ._waiting import gather as gather
from ._waiting import run_coroutine_threadsafe as run_coroutine_threadsafe
from ._waiting import sleep as sleep
from ._waiting import timeout as timeout
from ._waiting import wait as wait
from ._waiting import wait_for as wait_for
from ._way_out import daemon as daemon

__all__ = [
    "Backoff",
    "Barrier",
    "BarrierStatistics",
    "BoundedSemaphore",
    "Broadcast",
    "BroadcastStatistics",
    "BrokenResourceError",
    "CancelScope",
    "Cancelled",
    "CapacityLimiter",
    "CapacityLimiterStatistics",
    "ChannelStatistics",
    "Child",
    "ClosedResourceError",
    "Condition",
    "ConditionStatistics",
    "EndOfChannel",
    "Event",
    "EventLoop",
    "EventStatistics",
    "Future",
    "Handle",
    "LifoQueue",
    "Lock",
    "LockStatistics",
    "Nursery",
    "NurseryStatistics",
    "Portal",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "QueueStatistics",
    "ReceiveChannel",
    "Results",
    "Runner",
    "Semaphore",
    "SemaphoreStatistics",
    "SendChannel",
    "Server",
    "SignalReceiver",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Supervisor",
    "SupervisorStatistics",
    "Task",
    "TaskGroup",
    "TaskGroupStatistics",
    "TaskStatus",
    "Timeout",
    "TimerHandle",
    "UniversalEvent",
    "UniversalLock",
    "UniversalQueue",
    "UniversalStatistics",
    "WouldBlock",
    "accelerated",
    "amap",
    "as_completed",
    "current_effective_deadline",
    "current_scope",
    "daemon",
    "fail_after",
    "fail_at",
    "gather",
    "install",
    "join",
    "move_on_after",
    "move_on_at",
    "new_event_loop",
    "open_channel",
    "open_connection",
    "open_nursery",
    "open_portal",
    "open_signal_receiver",
    "open_supervisor",
    "open_unix_connection",
    "race",
    "run",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "timeout",
    "timeout_at",
    "to_thread",
    "wait",
    "wait_for",
    "wait_for_interrupt",
]

for _public in (
    Backoff,
    Barrier,
    BarrierStatistics,
    BoundedSemaphore,
    Broadcast,
    BroadcastStatistics,
    BrokenResourceError,
    Cancelled,
    CapacityLimiter,
    CapacityLimiterStatistics,
    ChannelStatistics,
    Child,
    ClosedResourceError,
    Condition,
    ConditionStatistics,
    EndOfChannel,
    Event,
    EventLoop,
    EventStatistics,
    LifoQueue,
    Lock,
    LockStatistics,
    Nursery,
    NurseryStatistics,
    Portal,
    PriorityQueue,
    Queue,
    QueueStatistics,
    Results,
    Runner,
    Semaphore,
    SemaphoreStatistics,
    Server,
    SignalReceiver,
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    Supervisor,
    SupervisorStatistics,
    TaskGroup,
    TaskGroupStatistics,
    TaskStatus,
    UniversalEvent,
    UniversalLock,
    UniversalQueue,
    UniversalStatistics,
    WouldBlock,
    accelerated,
    amap,
    as_completed,
    daemon,
    install,
    join,
    new_event_loop,
    open_connection,
    open_nursery,
    open_portal,
    open_signal_receiver,
    open_supervisor,
    open_unix_connection,
    race,
    run,
    start_server,
    start_unix_server,
    wait_for,
    wait_for_interrupt,
):
    # A public thing prints its public address.
    _public.__module__ = "tepal"
del _public
