"""One request of OpenAI's library for Python; it prints what came as one JSON object."""

import json
import sys

from openai import OpenAI

options = json.loads(sys.argv[1])
client = OpenAI(
    base_url=options["url"], api_key=options["key"], default_headers={"X-Session-Id": options["session_id"]}
)
messages = [{"role": "user", "content": options["words"]}]
answer = client.chat.completions.create(model="agent", messages=messages, stream=options["stream"])
if options["stream"]:
    choices = [chunk.choices[0] for chunk in answer]
    text, finish = "".join(choice.delta.content or "" for choice in choices), choices[-1].finish_reason
else:
    text, finish = answer.choices[0].message.content, answer.choices[0].finish_reason
models = [model.id for model in client.models.list()]
print(json.dumps({"text": text, "finish": finish, "models": models}))
