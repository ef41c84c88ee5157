"""Admits the staff by their badges."""

from relay.exceptions import Forbidden, Unauthorized
from relay.policies import Handshake, Identity, Policy, Rate

STAFF = {"badge-1": "ada", "badge-2": "bob"}
VISITS = Rate(count=1_000, seconds=60)


class BadgePolicy(Policy):
    async def admit(self, handshake: Handshake) -> Identity:
        name = STAFF.get(handshake.credential or "")
        if name is None:
            raise Unauthorized
        if await self.limits.take(f"badge:{name}", VISITS) > 0:
            raise Forbidden
        return Identity(subject=name)
