"""tepal: asyncio, finished.

An event loop for asyncio programs, written in Rust. Importing it changes nothing; ask for it by name:

- ``tepal.run(main())`` runs a program on it,
- ``asyncio.run(main(), loop_factory=tepal.new_event_loop)`` does so with asyncio's own runner (Python 3.12+),
- ``tepal run app.py`` runs an unchanged program on it.
"""

from ._install import install as install
from ._loop import EventLoop as EventLoop
from ._loop import new_event_loop as new_event_loop
from ._run import Runner as Runner
from ._run import run as run
from ._server import Server as Server
from ._tepal import Future as Future
from ._tepal import Handle as Handle
from ._tepal import Task as Task
from ._tepal import TimerHandle as TimerHandle
from ._tepal import __version__ as __version__

__all__ = [
    "EventLoop",
    "Future",
    "Handle",
    "Runner",
    "Server",
    "Task",
    "TimerHandle",
    "install",
    "new_event_loop",
    "run",
]

for _public in (EventLoop, Runner, Server, install, new_event_loop, run):
    # A public thing prints its public address.
    _public.__module__ = "tepal"
del _public
