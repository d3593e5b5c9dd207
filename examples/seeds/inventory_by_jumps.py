"""Pricing an inventory, as it was written in 1958: seventeen operations that jump to one another, one of which changes another.

Two files, sorted by product number: what is in stock, and what a unit costs. Two files come out of them: the stock with prices,
and the stock that has none. Here each operation is a callback of the loop, and a jump is `call_soon`; whoever wants to know what
happens when must play computer. `inventory_by_structure.py` does the same.

    python examples/seeds/inventory_by_jumps.py INVENTORY PRICES PRICED UNPRICED
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TextIO

import tepal

END_OF_PRICES = "ZZZZZZZZZZZZ"
"""What the price file ends with: greater than every number."""


class Machine:
    """The operations, by their numbers, and the two items that stand in the input areas."""

    def __init__(self, inventory: TextIO, prices: TextIO, priced: TextIO, unpriced: TextIO) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopped = self.loop.create_future()
        self.a, self.b, self.c, self.d = inventory, prices, priced, unpriced
        self.item: list[str] = []
        self.price: list[str] = []
        self.area: list[str] = []
        self.operation_9 = self.operation_1

    def jump(self, operation: Callable[[], None]) -> None:
        """Go on there."""
        self.loop.call_soon(operation)

    def operation_0(self) -> None:
        """Open the files, and read the first item of each."""
        self.price = self.b.readline().split()
        self.jump(self.operation_8)

    def operation_1(self) -> None:
        """Compare the product numbers."""
        if self.item[0] > self.price[0]:
            self.jump(self.operation_10)
        elif self.item[0] == self.price[0]:
            self.jump(self.operation_5)
        else:
            self.jump(self.operation_2)

    def operation_2(self) -> None:
        """Transfer the item to the unpriced."""
        self.area = list(self.item)
        self.jump(self.operation_3)

    def operation_3(self) -> None:
        """Write an unpriced item."""
        print(*self.area, file=self.d)
        self.jump(self.operation_4)

    def operation_4(self) -> None:
        """Jump."""
        self.jump(self.operation_8)

    def operation_5(self) -> None:
        """Transfer the item to the priced."""
        self.area = list(self.item)
        self.jump(self.operation_6)

    def operation_6(self) -> None:
        """Move the unit price there."""
        self.area.append(self.price[1])
        self.jump(self.operation_7)

    def operation_7(self) -> None:
        """Write a priced item."""
        print(*self.area, file=self.c)
        self.jump(self.operation_8)

    def operation_8(self) -> None:
        """Read an item of the inventory."""
        self.item = self.a.readline().split()
        self.jump(self.operation_9 if self.item else self.operation_14)

    def operation_10(self) -> None:
        """Read a price."""
        self.price = self.b.readline().split()
        self.jump(self.operation_11 if self.price else self.operation_12)

    def operation_11(self) -> None:
        """Jump."""
        self.jump(self.operation_1)

    def operation_12(self) -> None:
        """There are no more prices: from now on operation 9 goes to operation 2."""
        self.price = [END_OF_PRICES]
        self.operation_9 = self.operation_2
        self.jump(self.operation_13)

    def operation_13(self) -> None:
        """Jump."""
        self.jump(self.operation_2)

    def operation_14(self) -> None:
        """Whether the prices were read to their end."""
        self.jump(self.operation_16 if self.price[:1] == [END_OF_PRICES] else self.operation_15)

    def operation_15(self) -> None:
        """Rewind the prices."""
        self.b.seek(0)
        self.jump(self.operation_16)

    def operation_16(self) -> None:
        """Close out the files that were written."""
        self.c.flush()
        self.d.flush()
        self.jump(self.operation_17)

    def operation_17(self) -> None:
        """Stop."""
        self.stopped.set_result(None)


async def main(inventory: str, prices: str, priced: str, unpriced: str) -> None:
    """Price an inventory."""
    a, b = [StringIO(await tepal.to_thread.run(Path(path).read_text)) for path in (inventory, prices)]
    c, d = StringIO(), StringIO()
    machine = Machine(a, b, c, d)
    machine.jump(machine.operation_0)
    await machine.stopped
    await tepal.to_thread.run(Path(priced).write_text, c.getvalue())
    await tepal.to_thread.run(Path(unpriced).write_text, d.getvalue())


if __name__ == "__main__":
    tepal.run(main(*sys.argv[1:5]))
