"""How each kind of row is run; one module per kind."""

from __future__ import annotations

from benches.families.idle import Idle
from benches.families.micro import Micro
from benches.families.network import network_families
from benches.families.programs import Programs
from benches.families.startup import Startup
from benches.model import Family


def all_families() -> list[Family]:
    """Every family in the order of the table: programs before micro-benchmarks, tails of the process last."""
    return [Programs(), *network_families(), Micro(), Idle(), Startup()]
