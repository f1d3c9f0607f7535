"""`python -m bench.voice`: how much later than it could be an answer is heard.

A real server, asked over HTTP, between a model, a transcription and a synthesizer with set times
(bench/voice_upstream.py), which note what they took. "Possible" is what their times alone come to: from the
question until the first sentence is recognizably complete, and the synthesizer's time for it; for recordings the
transcription's time too. What the server adds to it is "added": storing, searching, decoding, cutting, all the HTTP.
Answers at the same time are held against what their own model and synthesizer would have allowed: "late" is how much
longer the wait between two sentences was, "silence" for how long a listener who plays what has come hears nothing.
"""

import http.client
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import unquote, urlsplit

import httpx2

from bench.demo import prepare
from bench.running import process_of, running_server
from bench.voice_sounds import SENTENCE_SECONDS, clip_wav, clip_webm, sentence_mp3
from bench.voice_upstream import Noted, question

REQUESTS = 10
AT_ONCE = 30
SENTENCES_AT_ONCE = 6
DELAYS = (0.0, 0.25, 0.5)
LOOK_AHEAD = 2
"""Of the speaker: a sentence's synthesis begins once the last but one has been sent."""
_numbers = itertools.count(100_000)
_BORDER = "bench-voice-border"


@dataclass(frozen=True)
class Heard:
    """One answer as its client heard it; moments are readings of the monotonic clock.

    Attributes:
        number: of the question.
        asked: when the request was sent.
        sentences: when each sentence's first sound came.
    """

    number: str
    asked: float
    sentences: tuple[float, ...]


@dataclass(frozen=True)
class Client:
    """Asks a server as a channel does."""

    address: str
    key: str
    sentence: int

    def ask(self, sentences: int = 2) -> Heard:
        """Ask in writing."""
        number = next(_numbers)
        body = f'{{"text": "{question(number, sentences)}"}}'.encode()
        return self._heard("/voice/processText", "application/json", body, str(number))

    def say(self, clip: bytes, name: str) -> Heard:
        """Ask by a recording."""
        head = f'--{_BORDER}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + clip + f"\r\n--{_BORDER}--\r\n".encode()
        return self._heard("/voice/processAudioFile", f"multipart/form-data; boundary={_BORDER}", body, "")

    def _heard(self, path: str, kind: str, body: bytes, number: str) -> Heard:
        """Send a request, read the sound, and note when each sentence began."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.connect()
        asked = time.monotonic()
        connection.request("POST", path, body, {"Content-Type": kind, "X-API-Key": self.key})
        response = connection.getresponse()
        length, began = 0, list[float]()
        while piece := response.read1(2**16):
            while length + len(piece) > len(began) * self.sentence:
                began.append(time.monotonic())
            length += len(piece)
        connection.close()
        if response.status != 200 or length != len(began) * self.sentence or not length:
            raise RuntimeError(f"{response.status}, {length} bytes")
        transcript = unquote(response.headers.get("X-Transcript", ""))
        return Heard(number or transcript.split()[3], asked, tuple(began))


def possible(noted: Noted) -> float:
    """Return the seconds after which the first sound of an answer could have been there."""
    return noted.heard + noted.written[0] + noted.spoken["0"]


def added(heard: Heard, noted: Noted) -> float:
    """Return how many seconds later it was there."""
    return heard.sentences[0] - heard.asked - possible(noted)


def late(heard: Heard, noted: Noted) -> float:
    """Return the most seconds by which the wait between two sentences was longer than it had to be."""
    could = list[float]()
    for part, written in enumerate(noted.written):
        before = could[part - LOOK_AHEAD] if part >= LOOK_AHEAD else 0.0
        could.append(max(written, before) + noted.spoken[str(part)])
    waits = [after - before for before, after in itertools.pairwise(heard.sentences)]
    needed = [after - before for before, after in itertools.pairwise(could)]
    return max(wait - need for wait, need in zip(waits, needed, strict=True))


def silence(heard: Heard) -> float:
    """Return the longest silence between two sentences for who plays each as it comes."""
    longest, end = 0.0, heard.sentences[0]
    for moment in heard.sentences:
        longest = max(longest, moment - end)
        end = max(end, moment) + SENTENCE_SECONDS
    return longest


def main() -> int:
    """Measure and print tables in Markdown."""
    with process_of("bench.voice_upstream") as upstream, httpx2.Client(base_url=upstream, timeout=60) as control:
        with _serving(upstream, SYNTHESIS_CALLS=str(2 * AT_ONCE)) as client:
            _first_sounds(client, control)
            sys.stdout.write(
                f"\n| {AT_ONCE} at once, synthesizer's s | SYNTHESIS_CALLS | first sound added p50 / max ms "
                "| late p50 / p95 / max ms | silence max ms |\n|---|---|---|---|---|\n"
            )
            for delay in DELAYS:
                _side_by_side(client, control, delay, str(2 * AT_ONCE))
        with _serving(upstream) as client:
            _side_by_side(client, control, DELAYS[1], "8 (default)")
    return 0


@contextmanager
def _serving(upstream: str, **settings: str) -> Iterator[Client]:
    """Run a server that asks the upstream for everything, with an assistant that has documents."""
    speech = {"SPEECH": "openai", "SPEECH_MODEL": "bench", "SPEECH_BASE_URL": upstream, "SPEECH_VOICE": "hum"}
    hearing = {"TRANSCRIBER": "openai", "TRANSCRIPTION_MODEL": "bench", "TRANSCRIPTION_BASE_URL": upstream}
    quiet = {"OPENAI_BASE_URL": upstream, "MESSAGES_PER_MINUTE": "0", "LOG_LEVEL": "WARNING"}
    with tempfile.TemporaryDirectory(prefix="orquestra-bench-") as folder:
        with running_server(Path(folder), {**quiet, **speech, **hearing, **settings}) as server:
            with httpx2.Client(base_url=server.url, timeout=60) as admin:
                key = prepare(admin, say=lambda line: None)
            yield Client(urlsplit(server.url).netloc, key, len(sentence_mp3()))


def _first_sounds(client: Client, control: httpx2.Client) -> None:
    """Print what is added to the first sound of answers that come one after the other."""
    sys.stdout.write(
        "| question | synthesizer's s | first sound p50 ms | possible p50 ms | added p50 / p95 ms |\n"
        "|---|---|---|---|---|\n"
    )
    webm, wav = clip_webm(), clip_wav()
    for delay in DELAYS:
        _write_row("text", delay, client.ask, control)
    _write_row("10 s of webm/opus", DELAYS[1], lambda: client.say(webm, "clip.webm"), control)
    _write_row("10 s of wav", DELAYS[1], lambda: client.say(wav, "clip.wav"), control)


def _write_row(name: str, delay: float, ask: Callable[[], Heard], control: httpx2.Client) -> None:
    control.post(f"delay/{delay}").raise_for_status()
    ask()
    answers = [ask() for _ in range(REQUESTS)]
    noted = _noted(control, answers)
    first = _ms(heard.sentences[0] - heard.asked for heard in answers)
    could, more = _ms(map(possible, noted)), _ms(map(added, answers, noted))
    sys.stdout.write(
        f"| {name} | {delay:g} | {median(first):.0f} | {median(could):.0f} "
        f"| +{median(more):.0f} / +{_p95(more):.0f} |\n"
    )


def _side_by_side(client: Client, control: httpx2.Client, delay: float, calls: str) -> None:
    """Print what becomes of many answers that begin in the same moment."""
    control.post(f"delay/{delay}").raise_for_status()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: client.ask(SENTENCES_AT_ONCE), range(AT_ONCE)))
    noted = _noted(control, answers)
    more, later, silent = _ms(map(added, answers, noted)), _ms(map(late, answers, noted)), _ms(map(silence, answers))
    sys.stdout.write(
        f"| {delay:g} | {calls} | +{median(more):.0f} / +{max(more):.0f} "
        f"| {median(later):.0f} / {_p95(later):.0f} / {max(later):.0f} | {max(silent):.0f} |\n"
    )


def _noted(control: httpx2.Client, answers: Sequence[Heard]) -> list[Noted]:
    """Return what went into each answer."""
    log = control.get("log").raise_for_status().json()
    return [Noted(**log[heard.number]) for heard in answers]


def _ms(seconds: Iterable[float]) -> list[float]:
    return [one * 1000 for one in seconds]


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[18]


if __name__ == "__main__":
    sys.exit(main())
