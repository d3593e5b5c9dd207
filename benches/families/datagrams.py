"""UDP echo: one socket that answers many, by what its process spends on a datagram, and what became of the others."""

from __future__ import annotations

from dataclasses import replace

from benches.families.network import Exchange, Network, echoes
from benches.loops import LAYERS
from benches.model import Row

_CELLS = [(size, count) for size in ("64B", "1KiB") for count in (1, 10, 50)]
_QUICK = {("64B", 10), ("1KiB", 50)}


def datagram_families() -> list[Network]:
    """The cells, each with a row for what was lost in it: a loop must not be fast by dropping."""
    exchanges = [_with_loss(exchange) for exchange in echoes("udp", _CELLS, _QUICK, mode="datagram")]
    return [Network("datagrams", exchanges, floor="datagram-floor", extras=LAYERS)]


def _with_loss(exchange: Exchange) -> Exchange:
    case = exchange.case
    loss = Row(f"{case.id}/loss", "lost_per_million", "lost / million")
    return replace(exchange, case=replace(case, rows=(*case.rows, loss)))
