"""What servers of chat completions disagree about, learnt from their refusals."""

import re
from dataclasses import dataclass, replace

import httpx2

from models.answers import ModelRequest

_OMISSIBLE = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "parallel_tool_calls",
)
"""Parameters that an answer is better made without than not at all; newer models of OpenAI refuse several."""

_UNKNOWN = re.compile(r"support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|deprecated", re.IGNORECASE)
"""Words of a refusal of the parameter itself, and not of its value."""

_REFUSALS = frozenset({400, 422})
_SILENT_TOO_LONG = frozenset({408, 504, 524})
"""What gateways say of an answer that takes long; they let a stream pass."""
_NO_TOOLS_STATUSES = frozenset({400, 404, 422, 500, 501})
"""OpenRouter says 404, older servers of llama.cpp say 500."""
_NO_TOOLS = re.compile(
    r"(?:tool|function)[ _-]?(?:s\b|call|use).*(?:support|unsupported|not available|requires? --|param requires)"
    r"|(?:support|unsupported|requires? --).*(?:tool|function)[ _-]?(?:s\b|call|use|choice)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Dialect:
    """What one model's server understands of what servers disagree about.

    `max_tokens` is tried first: OpenAI's newer models refuse it with a 400 that names `max_completion_tokens`, while
    Ollama takes `max_completion_tokens` silently and lets the model write without end (ollama #7125). Servers that do
    not know `stream_options` refuse it; their answers then have no token counts.

    Attributes:
        whole: it answers in one piece where nobody reads along.
        null_content: a message of calls alone has no content; else an empty one.
        declared: functions that were called are told even where none may be called any more.
        strict: tools may be marked so.
        omitted: parameters that are refused.
    """

    limit: str = "max_tokens"
    usage: bool = True
    whole: bool = True
    null_content: bool = True
    declared: bool = False
    strict: bool = True
    omitted: frozenset[str] = frozenset()

    def simpler_for(self, response: httpx2.Response, request: ModelRequest) -> "Dialect | None":
        """Return the dialect to try after this response; None if it is no refusal of ours."""
        if self.whole and request.whole and response.status_code in _SILENT_TOO_LONG:
            return replace(self, whole=False)
        if response.status_code not in _REFUSALS:
            return None
        words = response.text
        if self.limit == "max_tokens" and "max_completion_tokens" in words:
            return replace(self, limit="max_completion_tokens")
        if self.usage and "stream_options" in words:
            return replace(self, usage=False)
        if self.whole and request.whole and "stream" in words.lower():
            return replace(self, whole=False)
        if refused := self._refused(request, words):
            return replace(self, omitted=self.omitted | refused)
        return self._for_tools(request, words.lower())

    def _refused(self, request: ModelRequest, words: str) -> frozenset[str]:
        """Return the parameters that a refusal names and an answer can be made without."""
        if not _UNKNOWN.search(words):
            return frozenset()
        asked = {*request.options, *(["temperature"] if request.temperature is not None else [])}
        can_go = asked.intersection(_OMISSIBLE) - self.omitted
        return frozenset(name for name in can_go if re.search(rf"\b{name}\b", words))

    def _for_tools(self, request: ModelRequest, words: str) -> "Dialect | None":
        if self.strict and re.search(r"\bstrict\b", words) and any(tool.strict for tool in request.tools):
            return replace(self, strict=False)
        if not self.declared and "tool" in words and request.rounds and not request.tools:
            return replace(self, declared=True)
        if self.null_content and re.search(r"\bcontent\b", words) and any(not one.text for one in request.rounds):
            return replace(self, null_content=False)
        return None


def cannot_call(response: httpx2.Response, request: ModelRequest) -> bool:
    """Tell whether a refusal means that the model, or its server, knows no tools."""
    if response.status_code not in _NO_TOOLS_STATUSES or not (request.tools or request.rounds):
        return False
    words = response.text.lower()
    return "schema" not in words and _NO_TOOLS.search(words) is not None
