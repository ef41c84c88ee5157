"""The protocol of the kiosks in the hall."""

import json
from typing import Any

from relay.adapters import (
    Adapter,
    AdapterRequest,
    ChatRequest,
    Limits,
    Translator,
    last_message,
    message_id_of,
    session_id_of,
    user_message,
)


class KioskTranslator(Translator):
    def on_start(self) -> list[str]:
        return []

    def on_text(self, text: str) -> list[str]:
        return [f'{{"say":"{text}"}}']

    def on_event(self, fields: dict[str, Any]) -> list[str]:
        return [json.dumps({"use": fields["tool_name"]})] if fields["type"] == "tool_call" else []

    def on_notice(self, fields: dict[str, Any]) -> list[str]:
        return []

    def on_final(self, finish_reason: str) -> list[str]:
        return [json.dumps({"end": finish_reason})]

    def on_error(self, words: str, code: str) -> list[str]:
        return [json.dumps({"fail": words})]


class Kiosk(Adapter):
    path = "kiosk"
    last_events = ("bye",)

    def read(self, request: AdapterRequest, limits: Limits) -> ChatRequest:
        session_id = session_id_of(request.body.get("kiosk"), "kiosk")
        last = last_message(request.body)
        fields = {name: value for name, value in request.body.items() if name in limits.message_fields}
        message = user_message(last, last.get("words"), message_id_of(last.get("id")), fields, limits)
        return ChatRequest(session_id, message)

    def translator(self, turn_id: str, request: AdapterRequest) -> Translator:
        return KioskTranslator(turn_id)
