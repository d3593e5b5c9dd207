"""`python -m asyncio ps` and `pstree` look into a process's memory: they find our tasks' names, coroutines, and who awaits whom."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys, tepal

async def leaf(event):
    await event.wait()

async def branch(event):
    await asyncio.create_task(leaf(event), name="a leaf")

async def numbered(event):
    await event.wait()

async def main():
    event = asyncio.Event()
    asyncio.current_task().set_name("the trunk")
    async with asyncio.TaskGroup() as group:
        group.create_task(branch(event), name="branch one")
        group.create_task(numbered(event))
        for _ in range(1000):  # tasks that come and go leave nothing that could be read
            await asyncio.gather(asyncio.create_task(asyncio.sleep(0)), asyncio.sleep(0))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        event.set()

tepal.run(main())
"""

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="the tools came with Python 3.14")


def look(command: str) -> str:
    """What a tool says of a program of ours that waits."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        tool = subprocess.run(
            [sys.executable, "-m", "asyncio", command, str(program.pid)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        program.stdin.close()
        assert program.wait(20) == 0
    if re.search(r"permission|not permitted", tool.stderr, re.IGNORECASE):
        pytest.skip("this system does not let one process look into another")
    assert tool.returncode == 0, tool.stderr
    return tool.stdout


def test_ps_lists_them() -> None:
    shown = look("ps")
    rows = {columns[2]: columns for line in shown.splitlines() if len(columns := re.split(r"\s{2,}", line.strip())) > 4}
    assert rows["the trunk"][3].endswith("main"), shown
    assert rows["branch one"][3:6] == ["branch", rows["the trunk"][3], "the trunk"], shown
    assert rows["a leaf"][3:6] == ["Event.wait -> leaf", "branch", "branch one"], shown
    (number,) = (name for name in rows if re.fullmatch(r"Task-\d+", name))
    assert rows[number][3:6] == ["Event.wait -> numbered", rows["the trunk"][3], "the trunk"], shown


def test_pstree_draws_them() -> None:
    shown = look("pstree")
    places = [shown.index(name) for name in ("the trunk", "branch one", "a leaf")]
    assert places == sorted(places), shown
    for coroutine in ("main", "branch", "leaf", "numbered"):
        assert coroutine in shown, shown
