"""Run in an environment that has `dashscope`: make the calls of each line of stdin, say on stdout what they gave."""

import json
import sys
from typing import Any

import dashscope  # type: ignore[import-not-found]


def item(response: Any) -> dict[str, Any]:
    """Return what a program would read of a response."""
    about = {name: response[name] for name in ("status_code", "code", "message", "request_id")}
    output, usage = response.output, response.usage
    if output is None:
        return {**about, "text": None}
    models = [dict(one) for one in usage.models or ()] if usage else []
    return {
        **about, "text": output.text, "finish_reason": output.finish_reason, "session_id": output.session_id,
        "models": models,
    }  # fmt: skip


def answered(call: dict[str, Any]) -> dict[str, Any]:
    """Make a call, and read its stream to the end if it is one."""
    items: list[dict[str, Any]] = []
    try:
        responses = dashscope.Application.call(**call)
        for response in responses if call.get("stream") else [responses]:
            items.append(item(response))
    except Exception as error:  # noqa: BLE001  whatever it is, the test is told
        return {"items": items, "raised": f"{type(error).__name__}: {error}"}
    return {"items": items, "raised": ""}


for line in sys.stdin:
    asked = json.loads(line)
    dashscope.base_http_api_url = asked["base_url"]
    print(json.dumps([answered(call) for call in asked["calls"]]), flush=True)  # noqa: T201
