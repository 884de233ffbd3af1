"""Turns at the event loop: first come, first served, and the sockets are looked at in between."""

from __future__ import annotations

import asyncio

from caretrail.turns import Turns


def test_of_many_at_once_few_work_before_the_loop_looks_at_its_sockets() -> None:
    async def main() -> list[str]:
        turns, seen = Turns(), list[str]()

        async def work(name: str) -> None:
            await turns.take()
            seen.append(name)

        def looked() -> None:
            seen.append("look")
            if len(seen) < 60:
                loop.call_soon(looked)

        loop = asyncio.get_running_loop()
        loop.call_soon(looked)
        await asyncio.gather(*(work(str(n)) for n in range(20)))
        return seen

    seen = asyncio.run(main())
    assert [name for name in seen if name != "look"] == [str(n) for n in range(20)]
    longest = max(len(part.split()) for part in " ".join(seen).split("look"))
    assert longest < 10


def test_who_gives_up_keeps_nobody_waiting() -> None:
    async def main() -> int:
        turns, worked = Turns(), 0

        async def work() -> None:
            nonlocal worked
            await turns.take()
            worked += 1

        tasks = [asyncio.create_task(work()) for _ in range(40)]
        await asyncio.sleep(0)
        for task in tasks[10:30]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return worked

    assert asyncio.run(main()) == 20
