"""Many conversations at once."""

from __future__ import annotations

import asyncio

SESSIONS = 200
TOKENS = 60


async def test_200_sessions_at_once_keep_their_tokens_apart(plain, server):
    """Each token of each answer is distinct: none is lost, doubled, or in another session's answer."""

    async def converse(number: int) -> str:
        async with plain(f"many-{server}-{number}") as browser:
            await browser.say(f"script:distinct {TOKENS} {number} delay=0.01")
            return await browser.answer()

    answers = await asyncio.gather(*(converse(number) for number in range(SESSIONS)))
    expected = ["".join(f"{number}-{token} " for token in range(TOKENS)) for number in range(SESSIONS)]
    assert answers == expected
