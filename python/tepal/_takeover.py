"""What `tepal run` does so that an unchanged program gets a tepal loop wherever it asks for asyncio's default one.

Here, and only here, names are replaced that are not ours. It is done because the user asked for it by name, for one process
and what multiprocessing starts from it, and it stops where the program is explicit: who writes `asyncio.SelectorEventLoop()`,
`uvloop.run()` or `--loop uvloop` gets what was written.

- The policy (up to Python 3.15): `asyncio.run`, `Runner`, `new_event_loop`, `IsolatedAsyncioTestCase`, anyio, aiohttp.
- `asyncio.EventLoop` (from 3.13): the name asyncio gives to "the best loop here", which 3.16 uses in place of a policy.
- uvicorn passes a loop factory of its own choice for `--loop auto` (uvloop when it is installed, else the selector loop) and
  for `--loop asyncio`; both are made to mean what `--loop none` means: leave it to asyncio.
- A process that multiprocessing spawns starts from nothing; the data it is prepared with takes this module along.
  (Forked ones have it anyway, other commands that the program starts are their own affair.)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from ._accelerate import accelerate as replace_primitives
from ._install import install
from ._loop import EventLoop, new_event_loop

if TYPE_CHECKING:
    # Imported for their names only: at run time it would bring half of importlib into the program's process.
    from importlib.abc import Loader


def take_over(*, accelerate: bool = False) -> None:
    """Make tepal's the default loop of this process in every place a program may take it from. Not a checkpoint.

    Args:
        accelerate: Put tepal's primitives into asyncio's namespaces, too.
    """
    if accelerate:
        replace_primitives()
    if sys.version_info < (3, 16):
        install()
    else:
        _replace(asyncio.events, "new_event_loop", new_event_loop)
        _replace(asyncio, "new_event_loop", new_event_loop)
    if sys.version_info >= (3, 13):
        _replace(asyncio, "EventLoop", EventLoop)
    _after_import(
        {
            "uvicorn.config": _leave_uvicorns_loop_to_asyncio,
            "multiprocessing.spawn": partial(_travel_with_spawned, accelerate),
        }
    )


def _replace(module: ModuleType, name: str, value: object) -> None:
    module.__dict__[name] = value


def _leave_uvicorns_loop_to_asyncio(config: ModuleType) -> None:
    # LOOP_FACTORIES since 0.36; before, LOOP_SETUPS with functions that set a policy. In both None means "do nothing".
    for table in ("LOOP_FACTORIES", "LOOP_SETUPS"):
        choices = getattr(config, table, {})
        if "none" in choices:
            choices["auto"] = choices["asyncio"] = choices["none"]


def _travel_with_spawned(accelerate: bool, spawn: ModuleType) -> None:
    prepare: Callable[[str], dict[str, object]] = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, object]:
        return {**prepare(name), "tepal": _Traveller(accelerate)}

    _replace(spawn, "get_preparation_data", get_preparation_data)


class _Traveller:
    """Takes over the process in which it is unpickled; a spawned process ignores keys it does not know."""

    def __init__(self, accelerate: bool) -> None:
        self._accelerate = accelerate

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (partial(take_over, accelerate=self._accelerate), ())


def _after_import(patches: dict[str, Callable[[ModuleType], None]]) -> None:
    """Call each function with its module: now if it is imported, else as soon as it is, and never import it."""
    pending = {}
    for name, patch in patches.items():
        if name in sys.modules:
            patch(sys.modules[name])
        else:
            pending[name] = patch
    sys.meta_path.insert(0, _Watcher(pending))


class _Watcher:
    """Finds nothing itself: it asks the finders after it, and puts a word in at the loading of the modules it waits for."""

    def __init__(self, patches: dict[str, Callable[[ModuleType], None]]) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if fullname not in self._patches:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = cast("Loader", _PatchingLoader(spec.loader, self._patches[fullname]))
                return spec
        return None


class _PatchingLoader:
    """Stands in for a module's loader until the module is executed, and leaves no trace of itself in it."""

    def __init__(self, loader: Loader, patch: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._patch = patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._patch(module)

    def __getattr__(self, name: str) -> Any:
        # Loaders have optional methods (get_source, get_resource_reader, ...) that somebody may ask of the spec meanwhile.
        return getattr(self._loader, name)
