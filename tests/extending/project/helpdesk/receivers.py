"""Notes questions and answers."""

import logging
from typing import Any

from django.dispatch import receiver

from relay.signals import MessageAccepted, TurnEnded, message_accepted, turn_ended

logger = logging.getLogger(__name__)


@receiver(message_accepted)
def on_message(sender: Any, message: MessageAccepted, **kwargs: Any) -> None:
    logger.info("%s asks in %s", message.subject, message.session_id)


@receiver(turn_ended)
def on_end(sender: Any, turn: TurnEnded, **kwargs: Any) -> None:
    logger.info("%s of %s in %s", turn.type, turn.subject, turn.session_id)
