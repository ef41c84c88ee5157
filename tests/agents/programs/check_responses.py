"""Parse events of the Responses API, a JSON list, with the types of OpenAI's package; print those that do not fit."""

import json
import sys

from openai.types import responses
from pydantic import ValidationError

TYPES = {
    kind.model_fields["type"].annotation.__args__[0]: kind
    for kind in vars(responses).values()
    if isinstance(kind, type) and kind.__name__.endswith("Event") and "sequence_number" in kind.model_fields
}

for event in json.load(sys.stdin):
    try:
        TYPES[event["type"]].model_validate(event)
    except (KeyError, ValidationError) as exc:
        print(event["type"], exc)
