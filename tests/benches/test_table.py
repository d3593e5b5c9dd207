"""The benchmarks' arithmetic: who is ahead, what is lost, which goals are missed, and that nothing lost goes unsaid."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benches import goals, plot, record, report
from benches.families import all_families
from benches.families.programs import parse_wrk
from benches.loops import Found
from benches.model import Case, Results, Row
from benches.verdict import Line, lines

COST = Case("echo/protocol/64B/10", (Row("echo/protocol/64B/10", "cpu_us", "µs"),))
RATE = Case("program/uvicorn", (Row("program/uvicorn", "per_second", "requests / s", "higher"),))
TLS = Case("tls/protocol/1KiB/10", (Row("tls/protocol/1KiB/10", "cpu_us", "µs"),))
LOSS = Case("udp/64B/50", (Row("udp/64B/50/loss", "lost_per_million", "lost / million"),))
SPAWN = Case("spawn/small", (Row("spawn/small", "cpu_us", "µs"),))
LARGE = Case("spawn/large", (Row("spawn/large", "cpu_us", "µs"),))
HANDSHAKE = Case("handshake/ecdsa", (Row("handshake/ecdsa", "cpu_us", "µs"),))
LOOPS = ["asyncio", "uvloop", "tepal", "floor"]
COLUMNS = ["asyncio", "uvloop", "tepal", "tepal-accelerated", "aiofastnet", "aiofastnet-uv", "floor"]


def measured(case: Case, **values: float) -> Line:
    results = Results()
    for loop, value in values.items():
        results.add(case, loop, {case.rows[0].metric: value})
    return lines([case], results, COLUMNS)[0]


def test_the_median_of_the_rounds_stands_in_the_table() -> None:
    results = Results()
    for value in (9.0, 1.0, 2.0):
        results.add(COST, "tepal", {"cpu_us": value})
    assert lines([COST], results, LOOPS)[0].medians == {"tepal": 2.0}


def test_the_floor_is_no_rival() -> None:
    line = measured(COST, asyncio=10, uvloop=4, tepal=3, floor=1)
    assert (line.best_rival, line.ratio, line.lost) == ("uvloop", 0.75, False)


def test_a_higher_rate_is_a_lower_cost() -> None:
    line = measured(RATE, asyncio=50, uvloop=100, tepal=200)
    assert (line.best_rival, line.ratio, line.lost) == ("uvloop", 0.5, False)
    assert measured(RATE, uvloop=100, tepal=50).lost


def test_a_row_in_which_tepal_fails_is_lost_and_says_why() -> None:
    results = Results()
    results.add(COST, "uvloop", {"cpu_us": 1.0})
    results.add(COST, "tepal", {"cpu_us": 0.5})
    results.fail(COST, "tepal", "hung in the second round")
    (line,) = lines([COST], results, LOOPS)
    assert line.lost
    text = report.render(header(), [], LOOPS, [line], [])
    assert "LOST" in text
    assert "hung in the second round" in text


def test_every_lost_row_is_listed() -> None:
    text = report.render(
        header(), [Found("zuvloop", None, "not for 3.13")], LOOPS, [measured(COST, uvloop=1, tepal=2)], []
    )
    assert "2.00 uvloop  LOST" in text
    assert "ahead in 0 of 1 rows; it loses:" in text
    assert "not here: zuvloop (not for 3.13)" in text


def test_goals_compare_with_floor_rivals_and_other_rows() -> None:
    twice = Case("twice/protocol/64B/10", (Row("twice/protocol/64B/10", "cpu_us", "µs"),))
    table = [
        measured(COST, uvloop=8, tepal=7, floor=5),
        measured(twice, uvloop=14, tepal=7.5, floor=6),
        measured(RATE, uvloop=100, tepal=180),
    ]
    missed = {outcome.goal.text: outcome.missed for outcome in goals.judge(table)}
    assert missed["echo: no more CPU per request than any rival"] == {}
    assert missed["echo of 64 B and 1 KiB through protocols: below the floor + 1.0 µs"] == {COST.id: 7 / 6}
    assert missed["two writes cost no more than one plus 10 %"] == {}
    assert missed["uvicorn: at least 1.7 × uvloop's requests per second"] == {}
    assert "timers: at most 0.6 × the best rival" not in missed


def test_a_layer_is_a_rival_and_the_better_of_two_is_the_limit() -> None:
    line = measured(TLS, uvloop=40, aiofastnet=20, **{"aiofastnet-uv": 16}, tepal=18)
    assert (line.best_rival, line.lost) == ("aiofastnet-uv", True)
    (missed,) = (o.missed for o in goals.judge([line]) if o.goal.text.startswith("TLS echo of 1 KiB and 100 KiB"))
    assert missed == {TLS.id: 18 / 16}


def test_a_goal_is_missed_where_tepal_fails_and_left_out_where_it_was_not_asked() -> None:
    results = Results()
    results.add(SPAWN, "uvloop", {"cpu_us": 1000.0})
    assert goals.judge(lines([SPAWN], results, LOOPS)) == []
    results.fail(SPAWN, "tepal", "no processes")
    table = lines([SPAWN], results, LOOPS)
    outcomes = goals.judge(table)
    assert [outcome.missed for outcome in outcomes] == [{SPAWN.id: None}] * 2
    assert f"{SPAWN.id}: tepal failed" in report.render(header(), [], LOOPS, table, outcomes)


@pytest.mark.parametrize(
    ("row", "uvloop", "limit"), [(SPAWN, 1000, 250), (LARGE, 50_000, 2_500), (HANDSHAKE, 440, 400)]
)
def test_the_new_goals_by_their_factors(row: Case, uvloop: float, limit: float) -> None:
    for cost, kept in ((0.99 * limit, True), (1.01 * limit, False)):
        outcomes = goals.judge([measured(row, uvloop=uvloop, tepal=cost)])
        assert [not outcome.missed for outcome in outcomes if "uvloop" in outcome.goal.text] == [kept]


def test_every_new_row_has_the_goal_not_to_be_lost() -> None:
    kinds = ("tls", "handshake", "https", "udp", "sendfile", "spawn", "pipe", "getaddrinfo")
    rows = [row for family in all_families() for case in family.cases(quick=False) for row in case.rows]
    new = [row for row in rows if row.id.split("/")[0] in kinds]
    assert {row.id.split("/")[0] for row in new} == set(kinds)
    for row in new:
        line = measured(Case(row.id, (row,)), uvloop=2, tepal=1 if row.better == "higher" else 3)
        assert any(
            line.row.id in outcome.missed for outcome in goals.judge([line]) if "no row lost" in outcome.goal.text
        )


def test_who_drops_where_nobody_else_does_has_lost_the_row() -> None:
    assert not measured(LOSS, uvloop=0, tepal=0).lost
    line = measured(LOSS, uvloop=0, tepal=120)
    assert (line.ratio, line.lost) == (None, True)
    text = report.render(header(), [], LOOPS, [line], goals.judge([line]))
    assert line.row.id in text.split("it loses:")[1]
    assert f"{line.row.id}: nothing was allowed" in text


def test_a_column_is_shown_where_it_has_a_part_and_never_touches_its_neighbour() -> None:
    text = report.render(
        header(), [], COLUMNS, [measured(COST, uvloop=2, tepal=1, floor=1), measured(TLS, tepal=1, aiofastnet=2)], []
    )
    plain, encrypted = (line.split("tepal / best")[0] for line in text.splitlines() if "tepal / best" in line)
    assert plain.split() == ["asyncio", "uvloop", "tepal", "floor"]
    assert encrypted.split() == ["asyncio", "uvloop", "tepal", "aiofastnet"]


def test_the_plot_is_well_formed_without_tepal_too() -> None:
    for line in (measured(COST, asyncio=10, uvloop=4), measured(COST, asyncio=10, uvloop=4, tepal=1000, floor=1)):
        ElementTree.fromstring(plot.draw([line], LOOPS, "a < b & c"))


def test_the_record_is_kept_whole_and_readable(tmp_path: Path) -> None:
    results = Results()
    for value in (1.0, 2.0):
        results.add(COST, "tepal", {"cpu_us": value, "p50_us": 10 * value})
    table = lines([COST], results, LOOPS)
    record.write(
        tmp_path / "run.json", header(), [Found("tepal", "1"), Found("rloop", None, "no")], LOOPS, table, [], results
    )
    text = (tmp_path / "run.json").read_text()
    kept = json.loads(text)
    assert kept["samples"][COST.id]["tepal"] == {"cpu_us": [1.0, 2.0], "p50_us": [10.0, 20.0]}
    assert kept["rows"][0]["loops"]["tepal"] == {"median": 1.5, "min": 1.0, "max": 2.0}
    assert kept["loops"] == {"tepal": "1", "rloop": {"missing": "no"}}
    assert '"tepal": { "cpu_us": [ 1.0, 2.0 ], "p50_us": [ 10.0, 20.0 ] }' in text
    assert (tmp_path / "run.svg").exists()


def test_row_names_are_unique() -> None:
    rows = [row.id for family in all_families() for case in family.cases(quick=False) for row in case.rows]
    assert len(rows) == len(set(rows))


def test_wrk_is_read() -> None:
    said = [
        "     50%    1.50ms",
        "     99%  900.00us",
        "  12345 requests in 2.00s, 1MB read",
        "Requests/sec:   6172.50",
        "",
    ]
    text = "\n".join(said)
    assert parse_wrk(text) == {"requests": 12345.0, "per_second": 6172.5, "p50_us": 1500.0, "p99_us": 900.0}


def header() -> dict[str, object]:
    return dict.fromkeys(("date", "machine", "cores", "kernel", "python", "mode", "rounds", "load_average"), "x")


def test_tepal_accelerated_is_no_rival() -> None:
    line = measured(TLS, uvloop=40, tepal=30, **{"tepal-accelerated": 20})
    assert (line.best_rival, line.lost) == ("uvloop", False)
