"""The speeds that were promised, as rules over the table.

A goal that is missed is printed with its rows; nothing fails, because a number from one machine on one day is a report,
not a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from benches.loops import ACCELERATED, FLOOR, LAYERS, SUBJECT, TRIO
from benches.verdict import Line

#: For a line, the worst allowed cost; None when what it is compared with was not measured.
Limit = Callable[[Line, dict[str, Line]], float | None]


@dataclass(frozen=True)
class Goal:
    """A promise about all rows that match one of the patterns."""

    text: str
    patterns: tuple[str, ...]
    limit: Limit
    subject: str = SUBJECT
    """Who keeps it: tepal under asyncio's own names, or accelerated."""


@dataclass(frozen=True)
class Outcome:
    """How a goal stands: which of its rows were compared, and which missed it.

    A row is missed with cost by limit, with 0 where nothing at all was allowed, with None where tepal failed.
    """

    goal: Goal
    compared: int
    missed: dict[str, float | None]


def judge(lines: Sequence[Line]) -> list[Outcome]:
    """Compares what was measured with what was promised; goals about rows that were not measured are left out."""
    by_id = {line.row.id: line for line in lines}
    outcomes = []
    for goal in GOALS:
        compared = 0
        missed: dict[str, float | None] = {}
        for line in lines:
            if not any(fnmatchcase(line.row.id, pattern) for pattern in goal.patterns):
                continue
            limit = goal.limit(line, by_id)
            if limit is None or goal.subject not in line.medians.keys() | line.errors.keys():
                continue
            compared += 1
            if goal.subject not in line.medians:
                missed[line.row.id] = None
            elif line.cost(goal.subject) > limit:
                missed[line.row.id] = line.cost(goal.subject) / limit if limit else 0.0
        if compared:
            outcomes.append(Outcome(goal, compared, missed))
    return outcomes


def _than(loop: str, factor: float) -> Limit:
    return lambda line, _: factor * line.cost(loop) if loop in line.medians else None


def _than_best(factor: float) -> Limit:
    return lambda line, _: factor * line.cost(line.best_rival) if line.best_rival else None


def _than_layers(factor: float) -> Limit:
    def limit(line: Line, _: dict[str, Line]) -> float | None:
        return min((factor * line.cost(name) for name in LAYERS if name in line.medians), default=None)

    return limit


def _tasks(what: str, row: str, asyncios: float, own: float | None = None) -> list[Goal]:
    """What was promised of tasks and primitives: by asyncio's own names, and by tepal's."""
    goals = [Goal(f"{what}: at most {asyncios} × the best rival", (f"micro/{row}",), _than_best(asyncios))]
    if own is not None:
        text = f"{what}, tepal's own: at most {own} × the best rival"
        goals.append(Goal(text, (f"micro/{row}",), _than_best(own), ACCELERATED))
    return goals


def _above_floor(micros: float) -> Limit:
    return lambda line, _: line.medians[FLOOR] + micros if FLOOR in line.medians else None


def _than_row(prefix: str, other: str, factor: float) -> Limit:
    def limit(line: Line, by_id: dict[str, Line]) -> float | None:
        twin = by_id.get(line.row.id.replace(prefix, other, 1))
        return factor * twin.cost(SUBJECT) if twin and SUBJECT in twin.medians else None

    return limit


GOALS = (
    Goal("echo: no more CPU per request than any rival", ("echo/*",), _than_best(1.0)),
    Goal(
        "echo of 64 B and 1 KiB through protocols: below the floor + 1.0 µs",
        ("echo/protocol/64B/*", "echo/protocol/1KiB/*"),
        _above_floor(1.0),
    ),
    Goal(
        "two writes cost no more than one plus 10 %",
        ("twice/protocol/*",),
        _than_row("twice/", "echo/", 1.1),
    ),
    Goal(
        "uvicorn: at least 1.7 × uvloop's requests per second",
        ("program/uvicorn",),
        _than("uvloop", 1 / 1.7),
    ),
    Goal(
        "aiohttp: at least 1.4 × uvloop's requests per second",
        ("program/aiohttp",),
        _than("uvloop", 1 / 1.4),
    ),
    Goal(
        "programs: at least zuvloop's requests per second",
        ("program/uvicorn", "program/aiohttp"),
        _than("zuvloop", 1.0),
    ),
    Goal("sock_*: at most 0.9 × rloop", ("echo/sock/*",), _than("rloop", 0.9)),
    Goal(
        "call_soon chain: at most 0.75 × the best rival",
        ("micro/call_soon_chain",),
        _than_best(0.75),
    ),
    Goal("timers: at most 0.6 × the best rival", ("micro/timer_*",), _than_best(0.6)),
    Goal(
        "threadsafe: no more than the best rival",
        ("micro/threadsafe_*",),
        _than_best(1.0),
    ),
    Goal(
        "TLS echo of 1 KiB and 100 KiB: no more CPU per request than aiofastnet, on whichever loop",
        ("tls/*/1KiB/*", "tls/*/100KiB/*"),
        _than_layers(1.0),
    ),
    Goal(
        "TLS handshakes per second of processor: at least 1.1 × uvloop's",
        ("handshake/*",),
        _than("uvloop", 1 / 1.1),
    ),
    Goal("spawn from a small heap: at most 0.25 × uvloop", ("spawn/small",), _than("uvloop", 0.25)),
    Goal("spawn from a heap of 1.5 GB: at most 0.05 × uvloop", ("spawn/large",), _than("uvloop", 0.05)),
    Goal("UDP echo: no more CPU per datagram than any rival", ("udp/*",), _than_best(1.0)),
    Goal(
        "TLS, HTTPS, UDP, files, processes, pipes, literals: no row lost",
        ("tls/*", "handshake/*", "https/*", "udp/*", "sendfile/*", "spawn/*", "pipe/*", "getaddrinfo/*"),
        _than_best(1.0),
    ),
    *_tasks("sleep(0)", "sleep0", 0.7, 0.35),
    *_tasks("create_task and await", "create_task", 0.75, 0.45),
    *_tasks("gather", "gather", 0.65, 0.2),
    *_tasks("TaskGroup", "taskgroup", 0.55, 0.2),
    *_tasks("future ping-pong", "future_pingpong", 0.5),
    *_tasks("Queue ping-pong", "queue_pingpong", 0.7, 0.2),
    *_tasks("contended Lock", "lock_contended", 0.75, 0.25),
    *_tasks("timeout", "timeout", 0.65, 0.15),
    *_tasks("wait_for", "wait_for", 0.65, 0.3),
    *_tasks("call_soon fan", "call_soon_fan", 1.0),
    Goal(
        "streams echo, tepal's own, 1 KiB: at most 0.85 × the best rival",
        ("echo/streams/1KiB/*",),
        _than_best(0.85),
        ACCELERATED,
    ),
    Goal("streams echo, tepal's own: no row lost", ("echo/streams/*", "tls/streams/*"), _than_best(1.0), ACCELERATED),
    Goal("readline, tepal's own: at most 0.6 × the best rival", ("echo/lines/*",), _than_best(0.6), ACCELERATED),
    Goal(
        "nursery, spawn and join: at least 4 × as fast as the best TaskGroup",
        ("structured/spawn_join",),
        _than_best(1 / 4),
    ),
    Goal("nursery, spawn and join: at least 20 × as fast as Trio's", ("structured/spawn_join",), _than(TRIO, 1 / 20)),
    Goal(
        "supervisor.create_task: within 20 % of a nursery",
        ("structured/supervisor",),
        _than_row("structured/supervisor", "structured/spawn_join", 1.2),
    ),
    Goal(
        "anyio's task groups: at least 1.4 × as fast as on uvloop",
        ("structured/anyio_task_group",),
        _than("uvloop", 1 / 1.4),
    ),
    Goal("move_on_after: at most 0.05 × anyio's on the best rival", ("structured/move_on_after",), _than_best(0.05)),
    Goal(
        "sleep(0) in a scope: at most 5 % more",
        ("structured/sleep0_in_scope",),
        _than_row("structured/sleep0_in_scope", "structured/sleep0", 1.05),
    ),
    Goal("channel: at most 0.5 × asyncio's Queue on the best rival", ("structured/channel",), _than_best(0.5)),
    Goal("channel: at most 0.2 × Trio's", ("structured/channel",), _than(TRIO, 0.2)),
    Goal(
        "an idle connection: at most 1.2 KiB",
        ("idle/protocol",),
        lambda _line, _all: 1.2 * 1024,
    ),
)
