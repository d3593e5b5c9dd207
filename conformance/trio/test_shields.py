"""Shields: what they hold off, when, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_shield_holds_off_what_comes_from_outside(kit: Any) -> None:
    async def main() -> None:
        begun = kit.current_time()
        with kit.move_on_after(1) as outer:
            with kit.CancelScope(shield=True):
                await kit.sleep(3)
            assert kit.current_time() - begun == pytest.approx(3, abs=0.2)
            await kit.checkpoint()
        assert outer.cancelled_caught

    kit.run(main)


def test_a_shield_has_a_deadline_of_its_own(kit: Any) -> None:
    async def main() -> None:
        begun = kit.current_time()
        with kit.move_on_after(1):
            with kit.move_on_after(2, shield=True) as shield:
                await kit.sleep(10)
            assert shield.cancelled_caught
            assert kit.current_time() - begun == pytest.approx(2, abs=0.2)

    kit.run(main)


@pytest.mark.parametrize("lifted", [True, False])
def test_a_shield_may_be_lifted(kit: Any, lifted: bool) -> None:
    async def main() -> None:
        with kit.CancelScope() as outer:
            outer.cancel()
            with kit.CancelScope(shield=True) as shield:
                await kit.checkpoint()
                shield.shield = not lifted
                if lifted:
                    with pytest.raises(kit.Cancelled):
                        await kit.checkpoint()
                else:
                    await kit.checkpoint()

    kit.run(main)


def test_a_shield_may_be_raised_late(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope() as outer:
            with kit.CancelScope() as inner:
                outer.cancel()
                with pytest.raises(kit.Cancelled):
                    await kit.checkpoint()
                inner.shield = True
                await kit.checkpoint()
                await kit.sleep(1)
                inner.shield = False
                with pytest.raises(kit.Cancelled):
                    await kit.sleep(1)

    kit.run(main)


def test_lifting_a_shield_reaches_one_who_waits(kit: Any) -> None:
    async def main() -> None:
        async with kit.open_nursery() as nursery:
            outer, shield = kit.CancelScope(), kit.CancelScope(shield=True)

            async def child() -> None:
                with outer, shield:
                    await kit.sleep_forever()

            nursery.start_soon(child)
            await kit.sleep(1)
            outer.cancel()
            await kit.sleep(1)
            assert not outer.cancelled_caught
            shield.shield = False
        assert outer.cancelled_caught

    kit.run(main)


def test_a_shield_does_not_hold_off_its_own_cancellation(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope(shield=True) as shield:
            shield.cancel()
            await kit.sleep_forever()
        assert shield.cancelled_caught

    kit.run(main)


def test_a_shield_does_not_hold_off_a_scope_inside_it(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope(shield=True):
            with kit.move_on_after(1) as inner:
                await kit.sleep_forever()
            assert inner.cancelled_caught
            await kit.sleep(1)

    kit.run(main)


def test_a_scope_between_is_shielded_with_the_rest(kit: Any) -> None:
    async def main() -> None:
        with kit.CancelScope() as outer:
            with kit.CancelScope(shield=True):
                with kit.CancelScope() as inner:
                    outer.cancel()
                    await kit.sleep(1)
                assert not inner.cancelled_caught
            await kit.checkpoint()
        assert outer.cancelled_caught

    kit.run(main)


def test_a_nursery_inside_a_shield_is_shielded(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child() -> None:
            await kit.sleep(2)
            seen.append("done")

        with kit.move_on_after(1):
            with kit.CancelScope(shield=True):
                async with kit.open_nursery() as nursery:
                    nursery.start_soon(child)
        assert seen == ["done"]

    kit.run(main)


def test_a_nursery_may_be_shielded_itself(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child() -> None:
            await kit.sleep(2)
            seen.append("done")

        with kit.move_on_after(1) as outer:
            async with kit.open_nursery() as nursery:
                nursery.cancel_scope.shield = True
                nursery.start_soon(child)
            await kit.checkpoint()
        assert seen == ["done"]
        assert outer.cancelled_caught

    kit.run(main)


def test_one_child_shields_itself_and_the_other_does_not(kit: Any) -> None:
    async def main() -> None:
        seen = []

        async def child(name: str, shield: bool) -> None:
            with kit.CancelScope(shield=shield):
                try:
                    await kit.sleep(2)
                    seen.append((name, "done"))
                except kit.Cancelled:
                    seen.append((name, "cancelled"))
                    raise

        async with kit.open_nursery() as nursery:
            nursery.start_soon(child, "open", False)
            nursery.start_soon(child, "shielded", True)
            await kit.sleep(1)
            nursery.cancel_scope.cancel()
        assert seen == [("open", "cancelled"), ("shielded", "done")]

    kit.run(main)


def test_clean_up_in_finally_needs_a_shield(kit: Any) -> None:
    async def main() -> None:
        seen = []
        with kit.move_on_after(1):
            try:
                await kit.sleep_forever()
            finally:
                with kit.move_on_after(5, shield=True):
                    await kit.sleep(1)
                    seen.append("cleaned")
        assert seen == ["cleaned"]

    kit.run(main)


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_a_shield_is_a_bool(kit: Any, wrong: object) -> None:
    async def main() -> None:
        with kit.CancelScope() as scope, pytest.raises(TypeError):
            scope.shield = wrong

    kit.run(main)


@pytest.mark.parametrize("shields", [[False, False], [True, False], [False, True], [True, True]])
@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_who_is_reached_through_two_scopes(kit: Any, shields: list[bool], cancelled: int) -> None:
    # outer (never shielded) > first > second: one of the three is cancelled.
    async def main() -> None:
        reached = False
        scopes = [kit.CancelScope(), *(kit.CancelScope(shield=shield) for shield in shields)]
        with scopes[0], scopes[1], scopes[2]:
            scopes[cancelled].cancel()
            try:
                await kit.checkpoint()
            except kit.Cancelled:
                reached = True
        assert reached is not any(shields[cancelled:])

    kit.run(main)
