"""The tests that are not asked of the loop, and the watch that keeps the list honest.

An entry has ids, a reason and a date. An id is a test's name as the report prints it: `module.Class.test`, or pytest's
`file.py::Class::test[parameter]`. `*` stands for any run of characters, so that one line can name the same test in the classes
that CPython repeats per selector; nothing else is special, brackets least of all. An entry that names no test, or a test that
passes, is reported: the list only ever shrinks.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Exclusion:
    """One reason not to ask for some tests."""

    ids: tuple[str, ...]
    reason: str
    date: datetime.date
    pythons: tuple[str, ...] = ()
    """Versions it holds for, as prefixes (`3.13`); empty means all."""

    when_present: bool = False
    """The tests came with some patch release of these Pythons: where they are missing, the entry is not unused."""

    used: set[str] = field(default_factory=set)
    """The ids that matched a test so far."""

    def covers(self, test: str, python: str) -> bool:
        """Say whether a test is excluded by this entry, and remember it."""
        if not self.applies_to(python):
            return False
        matching = {pattern for pattern in self.ids if matches(test, pattern)}
        self.used |= matching
        return bool(matching)

    def applies_to(self, python: str) -> bool:
        return not self.pythons or any(python == name or python.startswith(name + ".") for name in self.pythons)


def read(path: Path) -> list[Exclusion]:
    """Read the list.

    Raises:
        ValueError: An entry has no ids, no reason, no date, or a key that means nothing.
    """
    entries = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("exclusion", []):
        ids, reason, date = entry.pop("ids", None), entry.pop("reason", None), entry.pop("date", None)
        pythons, when_present = entry.pop("pythons", []), entry.pop("when_present", False)
        if not ids or not reason or not isinstance(date, datetime.date) or entry:
            raise ValueError(f"{path}: an exclusion needs ids, reason and date, all else is optional: {ids} {entry}")
        entries.append(Exclusion(tuple(ids), reason, date, tuple(pythons), bool(when_present)))
    return entries


def matches(test: str, pattern: str) -> bool:
    """Compare a name with an id in which `*` stands for any run of characters."""
    return re.fullmatch(expression(pattern), test) is not None


def expression(pattern: str) -> str:
    """An id as a regular expression, for those who cannot call `matches`."""
    return ".*".join(map(re.escape, pattern.split("*")))


def unused(entries: list[Exclusion], modules: list[str], pythons: list[str]) -> list[str]:
    """Name the ids that matched nothing, among those that this run could have matched.

    Args:
        entries: The list, after the run.
        modules: What was run: the part of a test's name before its first `.` or, in pytest's names, before `::`.
        pythons: The versions it was run on.
    """
    return [
        pattern
        for entry in entries
        if not entry.when_present and any(entry.applies_to(python) for python in pythons)
        for pattern in entry.ids
        if pattern not in entry.used and any(matches(module, module_of(pattern)) for module in modules)
    ]


def module_of(name: str) -> str:
    return name.partition("::")[0] if "::" in name else name.split(".")[0]
