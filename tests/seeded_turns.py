"""The turns of a bad night: 300, of 20 users, three of whose agents fail, each in its own way."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from relay.models import Conversation, Turn

OWN_WORDS = "The model gpt-oss-120b is overloaded; try again in 20 s."
FAILURES = (
    {"reason": "upstream_error", "upstream_status": 401, "error": "Invalid API key: the key has expired."},
    {"reason": "upstream_error", "upstream_status": 500, "error": "Traceback: KeyError 'tools'"},
    {"reason": "upstream_error", "error": OWN_WORDS},
)
UNLUCKY = "7f3c2f1e-94c4-4f0e-8f0b-5d6a3c2b1a09@customers.example.com"  # the user of the first agent


def seeded_turns():
    """Make 300 turns: one user's agent answers 401, one 500, one in words of its own; the others answer."""
    now = datetime.now(UTC)
    users = [UNLUCKY, *(f"user-{number}@example.org" for number in range(1, 20))]
    sessions = [str(uuid.uuid5(uuid.NAMESPACE_URL, user)) for user in users]
    turns = []
    for number in range(300):
        who = number % 20
        failed = who < len(FAILURES)
        slow = number * 37 % 100 / 100
        end = FAILURES[who] if failed else {"reason": "answered"}
        at = now - timedelta(seconds=2.4 * (300 - number))
        turns.append(
            Turn(
                turn_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))), session_id=sessions[who], subject=users[who],
                message=f"Question {number}: how do I change the address of an order that was sent yesterday?",
                answer="" if failed else "Open the order and choose Change address. " * 5,
                tokens=0 if failed else 40, input_tokens=1234, output_tokens=56,
                first_token_seconds=None if failed else 0.2 + slow**4, duration_seconds=1.5 + slow,
                worker="gateway-5d9c8b7f6-x2x4z:7", started_at=at - timedelta(seconds=2), ended_at=at, **end,
            )
        )  # fmt: skip
    Turn.objects.bulk_create(turns)
    Conversation.objects.bulk_create(
        Conversation(session_id=session, subject=user, title=f"Address of an order {number}", created=now, updated=now)
        for number, (session, user) in enumerate(zip(sessions, users, strict=True))
    )
