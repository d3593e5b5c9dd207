"""The table: verdicts from outcomes, Markdown from verdicts."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from .probes import Probe, title
from .trial import Outcome

CONTROL = "asyncio"

HEAD = """# Compatibility

What each event loop makes of each method of `asyncio.AbstractEventLoop` and of each of its arguments. Nobody wrote this table:
`make compatibility` tries every row on every loop that is installed, each in processes of its own;
[conformance/compatibility](../conformance/compatibility/__init__.py) has what is tried.

**yes**: it works, and as on asyncio. **differs**: something else came out than on asyncio; the list at the foot says what.
**no**: it raises, and what. **crashes**, **hangs**: the process died, or nothing came. **–**: neither asyncio of this Python has
it, nor the loop.
"""


@dataclass(frozen=True)
class Loop:
    """A column: a loop with its version, or the reason why there is none."""

    name: str
    version: str | None
    reason: str | None = None


Outcomes = Mapping[str, Mapping[int, Outcome]]


def verdict(outcome: Outcome, control: Outcome | None) -> str:
    """One cell."""
    if outcome.end is not None:
        return outcome.end
    if outcome.error is not None:
        if control is not None and control.error is not None:
            return "–"
        return f"no ({outcome.error})"
    if control is not None and control.error is None and control.end is None and outcome.answer != control.answer:
        return "differs"
    return "yes"


def render(loops: Sequence[Loop], probes: Sequence[tuple[int, Probe]], outcomes: Outcomes, day: datetime.date) -> str:
    """The whole document."""
    here = [loop for loop in loops if loop.version is not None]
    lines = [HEAD, f"Python {platform.python_version()} on {platform.system()}, {day.isoformat()}.", ""]
    lines += [f"- {loop.name} {loop.version}" if loop.version else f"- {loop.name}: {loop.reason}" for loop in loops]
    lines += ["", *_sums(here, probes, outcomes)]
    for family, group in groupby(probes, key=lambda row: row[1].family):
        lines += ["", f"## {title(family)}", "", *_rule(["", *(loop.name for loop in here)])]
        for index, probe in group:
            cells = [verdict(outcomes[loop.name][index], outcomes[CONTROL].get(index)) for loop in here]
            lines.append(f"| {label(probe)} | {' | '.join(cells)} |")
    lines += ["", "## What differs, and how", "", *_differences(here, probes, outcomes)]
    return "\n".join(lines).rstrip() + "\n"


def label(probe: Probe) -> str:
    """A row's name as the table shows it: what is used, in the form of a call."""
    stars = {"args": "*args", "kwargs": "**kwargs"}
    arguments = ", ".join(stars.get(name, name) for name in probe.arguments)
    call = f"`{probe.method}({arguments})`" if arguments else f"`{probe.method}`"
    return f"{call}: {probe.case}" if probe.case else call


def _sums(loops: Sequence[Loop], probes: Sequence[tuple[int, Probe]], outcomes: Outcomes) -> list[str]:
    kinds = ("yes", "differs", "no", "crashes", "hangs", "–")
    lines = _rule(["", *(loop.name for loop in loops)])
    for kind in kinds:
        counts = []
        for loop in loops:
            cells = (verdict(outcomes[loop.name][index], outcomes[CONTROL].get(index)) for index, _ in probes)
            counts.append(str(sum(cell.split()[0] == kind for cell in cells)))
        lines.append(f"| {kind} | {' | '.join(counts)} |")
    return lines


def _rule(heads: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]


def _differences(loops: Sequence[Loop], probes: Sequence[tuple[int, Probe]], outcomes: Outcomes) -> list[str]:
    lines = []
    for loop in loops:
        for index, probe in probes:
            outcome, control = outcomes[loop.name][index], outcomes[CONTROL].get(index)
            if verdict(outcome, control) == "differs" and control is not None:
                lines.append(f"- {loop.name}, {label(probe)}: {_shown(outcome)} instead of {_shown(control)}")
    return lines or ["Nothing."]


def _shown(outcome: Outcome, longest: int = 160) -> str:
    text = outcome.answer or ""
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return f"`{text.replace('|', chr(92) + '|').replace('`', chr(39))}`"
