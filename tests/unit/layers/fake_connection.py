"""A connection to a store that answers as a test says, in place of a ``RedisConnection``."""

import asyncio


class FakeConnection:
    """Derived classes say in ``answer(commands)`` which replies come, and the failure that ends them, if one does."""

    is_open = True

    def ask(self, commands, answered):
        replies, failure = self.answer(commands)
        self.is_open = failure is None
        asyncio.get_running_loop().call_soon(answered, replies, failure)

    async def exchange(self, commands, replies):
        given = asyncio.get_running_loop().create_future()
        self.ask(commands, lambda *answer: given.set_result(answer))
        some, failure = await given
        replies.extend(some)
        if failure is not None:
            raise failure

    async def close(self):
        self.is_open = False
