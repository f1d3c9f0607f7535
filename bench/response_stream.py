"""`python -m bench.response_stream`: the CPU time of a streamed answer of the Responses API, ours and the SDK's.

The same requests go to the same endpoint (bench/response_upstream.py, a process of its own, no latency) on the same
client, by turns: read and thrown away, through `OpenAIResponsesModel`, through the SDK's stream, through its helper
`.stream()`. Each way gives the text and the tokens, and is checked for them. The ratios are what carries over.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median

import openai

from bench.response_upstream import text
from bench.running import process_of
from models.answers import ModelRequest, TextDelta, Usage
from models.chats import Citation
from models.deadline import Deadline
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from services.prompting import system_text
from services.providers.openai_chat import build_client
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads

PIECES = (20, 100, 400)
ROUNDS = 15
AT_A_TIME = 20
"""Answers of one way in a round, by turns with the others."""
OURS = "Orquestra"
_SECONDS = 30.0

Said = tuple[str, int]
"""An answer's text and its tokens."""
Way = Callable[[int], Said | None]
"""Asks for an answer in so many pieces."""


def main() -> int:
    """Measure and print a table in Markdown."""
    sys.stdout.write("| pieces | way | CPU ms an answer | to ours |\n|---|---|---|---|\n")
    with (
        process_of("bench.response_upstream") as url,
        contextlib.closing(build_client("", url, 2)) as client,
        _ways(client) as ways,
    ):
        for pieces in PIECES:
            costs = _measured(ways, pieces)
            for way, cost in costs.items():
                sys.stdout.write(f"| {pieces} | {way} | {cost:.2f} | x{cost / costs[OURS]:.2f} |\n")
    return 0


def _measured(ways: Mapping[str, Way], pieces: int) -> dict[str, float]:
    """Return the median of each way's milliseconds of CPU time for an answer, after a round to warm up."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS + 1):
        for way, ask in ways.items():
            began = time.process_time()
            answers = [ask(pieces) for _ in range(AT_A_TIME)]
            times[way].append((time.process_time() - began) * 1000 / AT_A_TIME)
            if any(said not in (None, (text(pieces), pieces)) for said in answers):
                raise RuntimeError(f"{way} gave another answer")
    return {way: median(taken[1:]) for way, taken in times.items()}


@contextlib.contextmanager
def _ways(client: openai.OpenAI) -> Iterator[Mapping[str, Way]]:
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as unused:
        model = OpenAIResponsesModel(client, "", OpenAIThreads(client, RedisThreads(unused)), _Nowhere())
        yield {
            "read only": lambda pieces: _read(client, pieces),
            OURS: lambda pieces: _ours(model, pieces),
            "SDK, `create(stream=True)`": lambda pieces: _streamed(client, pieces),
            "SDK, `.stream()`": lambda pieces: _helped(client, pieces),
        }


class _Nowhere:
    """Implement `Locator`; without a file search nothing is looked for."""

    def locate(self, document_id: str, text: str, answer: str) -> Citation | None:
        return None


def _ours(model: OpenAIResponsesModel, pieces: int) -> Said:
    said, tokens = "", 0
    for event in model.stream(_request(pieces), Deadline(_SECONDS)):
        match event:
            case TextDelta(piece):
                said += piece
            case Usage(counted) if counted:
                tokens = counted.output
    return said, tokens


def _read(client: openai.OpenAI, pieces: int) -> None:
    request = _request(pieces)
    with client.responses.with_streaming_response.create(
        model=str(pieces), instructions=system_text(request), input=request.question, store=False, stream=True
    ) as response:
        for _ in response.iter_bytes():
            pass


def _streamed(client: openai.OpenAI, pieces: int) -> Said:
    request, said, tokens = _request(pieces), "", 0
    with client.responses.create(
        model=str(pieces), instructions=system_text(request), input=request.question, store=False, stream=True
    ) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                said += event.delta
            elif event.type == "response.completed" and event.response.usage:
                tokens = event.response.usage.output_tokens
    return said, tokens


def _helped(client: openai.OpenAI, pieces: int) -> Said:
    request, said = _request(pieces), ""
    with client.responses.stream(
        model=str(pieces), instructions=system_text(request), input=request.question, store=False
    ) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                said += event.delta
        usage = events.get_final_response().usage
    return said, usage.output_tokens if usage else 0


def _request(pieces: int) -> ModelRequest:
    return ModelRequest("a", "How many vacation days do I get per year?", "Be kind.", model=str(pieces))


if __name__ == "__main__":
    sys.exit(main())
