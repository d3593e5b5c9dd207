"""Where tepal gives an older Python what asyncio has only on a newer one, there is no twin to compare with."""

from __future__ import annotations

import asyncio
import sys

import pytest

from .support import LoopFactory


def is_asyncio(loop_factory: LoopFactory) -> bool:
    """Whether this is the control's turn."""
    return loop_factory is asyncio.SelectorEventLoop


def asyncio_has_it_since(loop_factory: LoopFactory, *version: int) -> None:
    """Skip asyncio's turn on a Python whose asyncio does not have the feature yet; tepal's is never skipped."""
    if is_asyncio(loop_factory) and sys.version_info < version:
        pytest.skip("asyncio has it from Python {} on".format(".".join(map(str, version))))
