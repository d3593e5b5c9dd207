"""Pricing an inventory: the program of `inventory_by_jumps.py`, structured.

Readers, the pricing and writers run at once, joined by channels, in one nursery. Each is read from its top to its end.

    python examples/seeds/inventory_by_structure.py INVENTORY PRICES PRICED UNPRICED
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import tepal

Items = tepal.ReceiveChannel[list[str]]
ItemSink = tepal.SendChannel[list[str]]


async def read(path: str, items: ItemSink) -> None:
    """Send the items of a file, until nobody wants more."""
    lines = (await tepal.to_thread.run(Path(path).read_text)).splitlines()
    with items, contextlib.suppress(tepal.BrokenResourceError):
        for line in lines:
            await items.send(line.split())


async def write(path: str, items: Items) -> None:
    """Write what comes into a file."""
    lines = [" ".join(fields) + "\n" async for fields in items]
    await tepal.to_thread.run(Path(path).write_text, "".join(lines))


async def price(stock: Items, prices: Items, priced: ItemSink, unpriced: ItemSink) -> None:
    """Give each item its price, where there is one; both inputs are sorted by product number."""
    with stock, prices, priced, unpriced:
        current = await anext(prices, None)
        async for item in stock:
            while current is not None and current[0] < item[0]:
                current = await anext(prices, None)
            if current is not None and current[0] == item[0]:
                await priced.send([*item, current[1]])
            else:
                await unpriced.send(item)


async def main(inventory: str, prices: str, priced: str, unpriced: str) -> None:
    """Price an inventory."""
    ends: list[tuple[Any, Any]] = [tepal.open_channel(1) for _ in range(4)]
    (stock_in, stock), (prices_in, known), (priced_in, done), (unpriced_in, left) = ends
    async with tepal.open_nursery() as nursery:
        nursery.start_soon(read, inventory, stock_in)
        nursery.start_soon(read, prices, prices_in)
        nursery.start_soon(price, stock, known, priced_in, unpriced_in)
        nursery.start_soon(write, priced, done)
        nursery.start_soon(write, unpriced, left)


if __name__ == "__main__":
    tepal.run(main(*sys.argv[1:5]))
