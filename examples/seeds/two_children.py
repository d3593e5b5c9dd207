"""A nursery: two children run at once, and behind the block both have ended, whatever happened.

python examples/seeds/two_children.py
"""

from __future__ import annotations

import tepal


async def child(name: str, seconds: float) -> str:
    """Take some time."""
    print(f"{name} begins")
    await tepal.sleep(seconds)
    print(f"{name} ends")
    return name


async def parent() -> None:
    """Make two concurrent calls, and go on when both have returned."""
    async with tepal.open_nursery() as nursery:
        nursery.start_soon(child, "the first", 0.02)
        nursery.start_soon(child, "the second", 0.01)
    print("both have ended")


if __name__ == "__main__":
    tepal.run(parent)
