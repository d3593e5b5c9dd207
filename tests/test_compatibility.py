"""The table in docs/compatibility.md is whole: no method and no argument of asyncio's loop is forgotten, now or later."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.compatibility.probes import Probe, every_probe
from conformance.compatibility.table import Loop, label, render, verdict
from conformance.compatibility.trial import Outcome, try_all

ROOT = Path(__file__).resolve().parent.parent
TABLE = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")

# What a signature has and a table need not: the loop itself.
IMPLIED = {"self"}


def methods() -> Iterator[tuple[str, set[str]]]:
    """Every method of an event loop, with the arguments it has in the running Python, abstract and real."""
    for name, abstract in vars(asyncio.AbstractEventLoop).items():
        if name.startswith("_") or not callable(abstract):
            continue
        real = getattr(asyncio.SelectorEventLoop, name)
        parameters = [*inspect.signature(abstract).parameters, *inspect.signature(real).parameters]
        yield name, set(parameters) - IMPLIED


METHODS = dict(methods())
SPELLED_OTHERWISE = {("sock_recv", "n"): "nbytes"}
"""Arguments that asyncio's own loop calls otherwise than the abstract one does."""


@pytest.mark.parametrize("method", METHODS)
def test_each_method_and_argument_has_a_row(method: str) -> None:
    covered = defaultdict(set)
    for probe in every_probe():
        covered[probe.method].update(probe.arguments)
    assert method in covered, f"conformance/compatibility has no probe for {method}()"
    wanted = {SPELLED_OTHERWISE.get((method, argument), argument) for argument in METHODS[method]}
    missing = wanted - covered[method]
    assert not missing, f"conformance/compatibility has no probe for {missing} of {method}()"


@pytest.mark.parametrize("probe", every_probe(), ids=lambda probe: probe.name)
def test_each_row_is_in_the_table(probe: Probe) -> None:
    assert f"\n| {label(probe)} | " in TABLE, "make compatibility writes the table anew"


def test_each_row_can_be_told_from_the_others() -> None:
    labels = [label(probe) for probe in every_probe()]
    assert len(labels) == len(set(labels))


@pytest.mark.slow(limit=120)
def test_what_the_table_says_of_tepal_is_so() -> None:
    """All of it is tried again, and all of it is there."""
    probes = every_probe()
    control, ours = (try_all(loop, range(len(probes))) for loop in ("asyncio", "tepal"))
    wrong = {}
    for index, probe in enumerate(probes):
        told = verdict(ours[index], control[index])
        if told not in ("yes", "–"):
            wrong[probe.name] = (told, ours[index], control[index])
    assert not wrong


@pytest.mark.parametrize(
    ("outcome", "control", "told"),
    [
        (Outcome("1"), Outcome("1"), "yes"),
        (Outcome("1"), Outcome("2"), "differs"),
        (Outcome("1"), Outcome(error="TypeError"), "yes"),
        (Outcome("1"), None, "yes"),
        (Outcome(error="TypeError"), Outcome("1"), "no (TypeError)"),
        (Outcome(error="TypeError"), None, "no (TypeError)"),
        (Outcome(error="TypeError"), Outcome(error="TypeError"), "–"),
        (Outcome(end="crashes"), Outcome(error="TypeError"), "crashes"),
        (Outcome(error="TimeoutError", end="hangs"), Outcome("1"), "hangs"),
    ],
)
def test_verdicts(outcome: Outcome, control: Outcome | None, told: str) -> None:
    assert verdict(outcome, control) == told


def test_a_loop_that_dies_loses_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second loop that is made ends the process; the rows behind it are tried in another."""
    (tmp_path / "dying_loop.py").write_text(
        "import asyncio, os\n"
        "made = []\n"
        "def new_event_loop():\n"
        "    made.append(1)\n"
        "    return os._exit(3) if len(made) == 2 else asyncio.SelectorEventLoop()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    [first, second, third] = [index for index, probe in enumerate(every_probe()) if probe.family == "callbacks"][:3]
    outcomes = try_all("dying_loop", [first, second, third])
    assert outcomes[first].answer is not None
    assert outcomes[second] == Outcome(end="crashes")
    assert outcomes[third].answer is not None


def test_a_loop_that_cannot_begin_loses_all() -> None:
    assert try_all("no_such_loop", [0, 1]) == {0: Outcome(end="crashes"), 1: Outcome(end="crashes")}


def test_the_document_is_ordered_by_family() -> None:
    import datetime

    rows = list(enumerate(every_probe()))
    outcomes = {"asyncio": {index: Outcome("1") for index, _ in rows}}
    text = render(
        [Loop("asyncio", "3"), Loop("other", None, "not installed")], rows, outcomes, datetime.date(2026, 1, 2)
    )
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings)) > 10
    assert "- other: not installed" in text
    assert sum(line.endswith(" | yes |") for line in text.splitlines() if line.startswith("| `")) == len(rows)
