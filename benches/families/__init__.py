"""How each kind of row is run; one module per kind."""

from __future__ import annotations

from benches.families.datagrams import datagram_families
from benches.families.files import file_families
from benches.families.idle import Idle
from benches.families.micro import micro_families, structured_families, system_families
from benches.families.network import network_families
from benches.families.programs import Programs
from benches.families.pyperformance import Pyperformance
from benches.families.secure import secure_families
from benches.families.startup import Startup
from benches.model import Family


def all_families() -> list[Family]:
    """Every family in the order of the table: programs before micro-benchmarks, tails of the process last."""
    return [
        Programs("program"),
        *network_families(),
        Programs("https", key="ecdsa"),
        *secure_families(),
        *datagram_families(),
        *file_families(),
        *system_families(),
        Pyperformance(),
        *micro_families(),
        *structured_families(),
        Idle(),
        Startup(),
    ]
