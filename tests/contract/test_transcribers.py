"""What every transcriber does alike: the same question is heard, deadlines hold, calls do not disturb each other.

The emulators of providers do not listen: they answer any recording with the words of the question. pocketsphinx hears
them.
"""

import contextlib
import re
import threading
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from bench.demo_voice import QUESTION
from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded
from models.voice import Recording, Transcript, Upload
from services.ports import Transcriber
from services.providers.aws_account import AwsAccount
from services.providers.aws_transcribe import TranscribeStreaming
from services.providers.openai_chat import build_client
from services.providers.openai_transcription import OpenAITranscriber
from services.providers.pocketsphinx_transcriber import PocketsphinxTranscriber
from services.providers.scripted_voice import ScriptedTranscriber
from tests.emulators.aimock import aimock
from tests.emulators.aws_transcribe import KEY_ID, REGION, SECRET, Act, result, transcribe

WORDS = "can i buy additional vacation days"
_CALLERS = 2


@contextlib.contextmanager
def _scripted() -> Iterator[Transcriber]:
    yield ScriptedTranscriber([Transcript(WORDS, "en")] * 20)


@contextlib.contextmanager
def _openai() -> Iterator[Transcriber]:
    said = {"transcription": {"text": WORDS.capitalize() + "?", "languages": [{"code": "en"}]}}
    with (
        aimock([{"match": {"endpoint": "transcription"}, "response": said}]) as server,
        contextlib.closing(build_client("sk-test-0123456789", server.base_url, 4)) as client,
    ):
        yield OpenAITranscriber(client, "gpt-transcribe")


@contextlib.contextmanager
def _pocketsphinx() -> Iterator[Transcriber]:
    with contextlib.closing(PocketsphinxTranscriber()) as transcriber:
        yield transcriber


@contextlib.contextmanager
def _aws() -> Iterator[Transcriber]:
    with transcribe([Act.LISTEN, result(WORDS.capitalize() + "?", language="en-US")]) as server:
        yield TranscribeStreaming(AwsAccount(REGION, KEY_ID, SECRET), ("en-US", "pt-BR"), server.url)


_MAKERS: dict[str, Callable[[], AbstractContextManager[Transcriber]]] = {
    "aws": _aws,
    "scripted": _scripted,
    "openai": _openai,
    "pocketsphinx": _pocketsphinx,
}


@pytest.fixture(scope="module", params=sorted(_MAKERS))
def transcriber(request: pytest.FixtureRequest) -> Iterator[Transcriber]:
    with _MAKERS[request.param]() as made:
        yield made


@pytest.fixture(scope="module")
def question() -> Recording:
    content = QUESTION.read_bytes()
    with wave.open(str(QUESTION), "rb") as file:
        return Recording(file.readframes(file.getnframes()), Upload(content, QUESTION.name, "audio/wav"))


def _words(transcript: Transcript) -> str:
    return " ".join(re.findall(r"[a-z']+", transcript.text.lower()))


def test_the_question_is_heard(transcriber: Transcriber, question: Recording) -> None:
    transcript = transcriber.transcribe(question, "en-US", Deadline(30))
    assert _words(transcript) == WORDS
    assert transcript.language is None or transcript.language.partition("-")[0] == "en"


def test_it_has_a_name(transcriber: Transcriber) -> None:
    assert re.fullmatch(r"[a-z-]+", transcriber.name)


def test_many_are_heard_at_once(transcriber: Transcriber, question: Recording) -> None:
    with ThreadPoolExecutor(_CALLERS) as pool:
        heard = [pool.submit(transcriber.transcribe, question, "en", Deadline(30)) for _ in range(_CALLERS)]
        assert [_words(one.result()) for one in heard] == [WORDS] * _CALLERS


def test_nothing_is_heard_for_a_caller_who_left(transcriber: Transcriber, question: Recording) -> None:
    deadline = Deadline(30)
    deadline.cancel()
    with pytest.raises(CallCancelled):
        transcriber.transcribe(question, None, deadline)


def test_nothing_is_heard_after_the_deadline(transcriber: Transcriber, question: Recording) -> None:
    with pytest.raises(DeadlineExceeded):
        transcriber.transcribe(question, None, Deadline(0))


def test_another_caller_is_heard_after_one_left(transcriber: Transcriber, question: Recording) -> None:
    deadline = Deadline(30)
    leaving = threading.Timer(0.1, deadline.cancel)
    leaving.start()
    with contextlib.suppress(CallCancelled):
        transcriber.transcribe(question, None, deadline)
    leaving.join()
    assert _words(transcriber.transcribe(question, None, Deadline(30))) == WORDS
