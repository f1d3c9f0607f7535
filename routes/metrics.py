"""What Prometheus may know; every app has a registry of its own.

Server processes on one port write theirs into files of a folder, and each shows those of all. prometheus_client then
has no figures of a single process (`process_*`), and wants the folder in the environment before it is imported.
"""

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from models.chats import Chat

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The counters, gauges and histograms of one app.

    Args:
        folder: where the server processes on one port put theirs together; None for a single process.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        if folder is None:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
        self._gauge("orquestra_server_processes", "Server processes").set(1)
        self.room_size = self._gauge("orquestra_room_size", "Places for answers, streams and uploads that wait")
        self.room_used = self._gauge("orquestra_room_used", "Places that are taken")
        self._synthesis_used = self._gauge("orquestra_synthesis_used", "Sentences that are being synthesized")
        self._synthesis_waiting = self._gauge("orquestra_synthesis_waiting", "Sentences that wait to be synthesized")
        self._transcriptions = self._counter(
            "orquestra_transcriptions", "Transcriptions by how they ended", "provider", "outcome"
        )
        self._seconds = self._counter("orquestra_transcribed_seconds", "Sound that was transcribed", "provider")
        self._syntheses = self._counter(
            "orquestra_syntheses", "Syntheses of sentences by how they ended", "provider", "outcome"
        )
        self._characters = self._counter(
            "orquestra_synthesized_characters", "Characters that were synthesized", "provider"
        )
        self.requests = self._counter("orquestra_http_requests", "HTTP requests", "method", "route", "status")
        self.request_seconds = self._histogram(
            "orquestra_http_request_seconds", "Time to the response's headers", "method", "route"
        )
        self._chats = self._counter("orquestra_chats", "Channel messages by how they ended", "status", "provider")
        self._failures = self._counter("orquestra_chat_failures", "Channel messages without an answer", "code")
        self._tokens = self._counter("orquestra_tokens", "Model tokens", "direction", "provider")
        self._tools = self._histogram(
            "orquestra_tool_call_seconds", "Calls of tools by how they ended, and their time", "outcome"
        )
        self._stages = self._histogram("orquestra_answer_stage_seconds", "Where answers spend their time", "stage")

    def _gauge(self, name: str, meaning: str) -> Gauge:
        """Return a gauge whose value is the sum of all living processes'."""
        return Gauge(name, meaning, registry=self._registry, multiprocess_mode="livesum")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=_SECONDS, registry=self._registry)

    def count_failure(self, code: str) -> None:
        """Count a message that got no answer."""
        self._failures.labels(code).inc()

    def count(self, chat: Chat) -> None:
        """Count a chat that has just been settled."""
        provider = chat.provider or "none"
        self._chats.labels(chat.status.value, provider).inc()
        self._tokens.labels("in", provider).inc(chat.tokens.input)
        self._tokens.labels("out", provider).inc(chat.tokens.output)
        for use in chat.tools:
            self._tools.labels("failed" if use.failed else "done").observe(use.duration_ms / 1000)
        self._observe(vars(chat.timings))

    def count_transcription(self, provider: str, outcome: str, seconds: float) -> None:
        """Count a transcription that has ended, as `SpeechCalls` tells it."""
        self._transcriptions.labels(provider, outcome).inc()
        self._seconds.labels(provider).inc(seconds)

    def count_synthesis(self, provider: str, outcome: str, characters: float) -> None:
        """Count a synthesis that has ended, as `SpeechCalls` tells it."""
        self._syntheses.labels(provider, outcome).inc()
        self._characters.labels(provider).inc(characters)

    def show_synthesis(self, used: int, waiting: int) -> None:
        """Show how many sentences are being synthesized, and how many wait for that."""
        self._synthesis_used.set(used)
        self._synthesis_waiting.set(waiting)

    def observe_speech(self, first_sentence_ms: int | None, first_audio_ms: int | None) -> None:
        """Take in how long an answer took to be heard, from its stored message on."""
        self._observe({"first_sentence_ms": first_sentence_ms, "first_audio_ms": first_audio_ms})

    def _observe(self, timings: Mapping[str, int | None]) -> None:
        for stage, ms in timings.items():
            if ms is not None:
                self._stages.labels(stage.removesuffix("_ms")).observe(ms / 1000)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        if self._folder is None:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody, self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)
