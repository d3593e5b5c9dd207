"""The echo rows again, through TLS, and what it costs to get there: full handshakes with each kind of key."""

from __future__ import annotations

from benches.certificates import KEYS
from benches.families.network import CONNECTIONS, Network, echoes, oneshot
from benches.loops import ACCELERATED, LAYERS

_SIZES = ("64B", "1KiB", "10KiB", "100KiB")
_QUICK = {("64B", 10), ("1KiB", 1), ("1KiB", 10), ("100KiB", 10)}


def secure_families() -> list[Network]:
    """TLS through protocols in all cells, through streams in two, and a short life under each kind of key."""
    everywhere = [(size, count) for size in _SIZES for count in CONNECTIONS]
    two = [("1KiB", 10), ("100KiB", 10)]
    return [
        Network("protocol", echoes("tls/protocol", everywhere, _QUICK), extras=LAYERS, key="ecdsa"),
        Network("streams", echoes("tls/streams", two, two), extras=[*LAYERS, ACCELERATED], key="ecdsa"),
        *(Network("protocol", [oneshot(f"handshake/{key}", "handshake")], extras=LAYERS, key=key) for key in KEYS),
    ]
