"""Amazon Polly request by request: against botocore's description of it, and bytes of our own."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid, ProviderFailed
from models.voice import AudioFormat, Codec, Manner, Voice
from services.providers.aws_account import AwsAccount
from services.providers.aws_polly import PollySpeech, build_client
from tests.emulators.aws_model import polly_call
from tests.emulators.aws_polly import HEAD, refusal, speech, voice, voices
from tests.emulators.openai_wire import Action, Reply, WireServer, piece, wire
from tests.emulators.receiver import certificate
from tests.leaving import SOON, leaving

if TYPE_CHECKING:
    from mypy_boto3_polly.client import PollyClient
    from mypy_boto3_polly.literals import EngineType

ACCOUNT = AwsAccount("us-east-1", "AKIDEXAMPLE", "a secret", "a token")
ENGLISH = Manner("en-US")
PIECE = bytes(range(256)) * 4


@dataclass(frozen=True)
class Place:
    """A server, and a client of it."""

    server: WireServer
    client: "PollyClient"

    def speaker(self, *replies: Reply, engine: "EngineType" = "neural") -> PollySpeech:
        """Return one that knows no voices yet, and is answered like this."""
        self.server.replies[:] = replies
        self.server.requests.clear()
        self.server.gone.clear()
        return PollySpeech(self.client, engine, backoff_seconds=0.001)

    def asked(self) -> list[tuple[str, dict[str, object]]]:
        """Return the checked calls that came."""
        return [polly_call(request) for request in self.server.requests]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Run one server for the file."""
    with wire() as server:
        yield Place(server, build_client(ACCOUNT, server.url, 8))


def sound(speaker: PollySpeech, manner: Manner = ENGLISH, text: str = "Hello.", codec: Codec = Codec.MP3) -> bytes:
    """Return all the sound of a text."""
    return b"".join(speaker.synthesize(text, manner, codec, Deadline(10)))


@pytest.mark.parametrize(
    ("engine", "codec", "rate"),
    [("neural", Codec.MP3, 24_000), ("standard", Codec.MP3, 22_050), ("generative", Codec.PCM, 16_000)],
)
def test_what_is_asked(place: Place, engine: "EngineType", codec: Codec, rate: int) -> None:
    speaker = place.speaker(voices(), speech(PIECE, b"end"), engine=engine)
    assert sound(speaker, Manner("pt-BR"), "Olá, “mundo” & <todos>.", codec) == PIECE + b"end"
    assert speaker.format_of(codec) == AudioFormat(codec, rate)
    assert place.asked() == [
        ("DescribeVoices", {"Engine": engine, "IncludeAdditionalLanguageCodes": True}),
        (
            "SynthesizeSpeech",
            {
                "Engine": engine,
                "OutputFormat": codec.value,
                "SampleRate": str(rate),
                "Text": "Olá, “mundo” & <todos>.",
                "TextType": "text",
                "VoiceId": "Camila",
            },
        ),
    ]
    headers = place.server.requests[1].headers
    assert headers["x-amz-security-token"] == "a token" and "akidexample" in headers["authorization"]


@pytest.mark.parametrize(
    ("manner", "chosen", "language"),
    [
        (Manner("en"), "Joanna", None),
        (Manner("en-GB"), "Joanna", None),
        (Manner("en-IN"), "Kajal", None),
        (Manner("hi"), "Kajal", "hi-IN"),
        (Manner("pt"), "Camila", None),
        (Manner("pt-PT"), "Ines", None),
        (Manner("zh-Hans-CN"), "Zhiyu", None),
        (Manner("hi-IN", "kajal"), "Kajal", "hi-IN"),
        (Manner("en-US", "Kajal"), "Kajal", None),
        (Manner("fr-FR", "Camila"), "Camila", None),
    ],
)
def test_who_speaks(place: Place, manner: Manner, chosen: str, language: str | None) -> None:
    sound(place.speaker(voices(), speech(PIECE)), manner)
    members = place.asked()[1][1]
    assert (members["VoiceId"], members.get("LanguageCode")) == (chosen, language)


@pytest.mark.parametrize("manner", [Manner("fr-FR"), Manner("en-US", "Matthew")])
def test_a_voice_that_is_not_there(place: Place, manner: Manner) -> None:
    with pytest.raises(Invalid) as refused:
        sound(place.speaker(voices()), manner)
    assert refused.value.code == "voice_unknown" and "POLLY_ENGINE" in refused.value.detail


def test_voices_are_asked_for_once_page_by_page(place: Place) -> None:
    first, second = voice("Zhiyu", "cmn-CN"), voice("Kajal", "en-IN", "hi-IN")
    speaker = place.speaker(voices(first, more="a token/+="), voices(second))
    for _ in range(2):
        assert speaker.voices(Deadline(10)) == (
            Voice("Zhiyu", "Zhiyu", ("zh-CN",), "female"),
            Voice("Kajal", "Kajal", ("en-IN", "hi-IN"), "female"),
        )
    assert [members.get("NextToken") for _, members in place.asked()] == [None, "a token/+="]


def test_characters_that_xml_has_not_are_left_out(place: Place) -> None:
    sound(place.speaker(voices(), speech(PIECE)), text="a\0b\x0bc\ud800d\ufffee\tf\n👍")
    assert place.asked()[1][1]["Text"] == "abcde\tf\n👍"


def test_sentences_share_a_connection(place: Place) -> None:
    speaker = place.speaker(voices(), speech(PIECE), speech(PIECE))
    speaker.voices(Deadline(10))
    before = place.server.connections
    assert sound(speaker) + sound(speaker) == PIECE * 2
    assert place.server.connections == before


def test_a_late_cancel_leaves_the_connection_and_the_next_call_alone(place: Place) -> None:
    speaker = place.speaker(voices(), speech(PIECE), speech(PIECE, PIECE, then=[0.2, b"0\r\n\r\n"]))
    asking, first, second = Deadline(10), Deadline(10), Deadline(10)
    speaker.voices(asking)
    before = place.server.connections
    asking.cancel()
    assert b"".join(speaker.synthesize("One.", ENGLISH, Codec.MP3, first)) == PIECE
    first.cancel()
    later = speaker.synthesize("Two.", ENGLISH, Codec.MP3, second)
    assert next(later) == PIECE
    assert b"".join(later) == PIECE
    assert place.server.connections == before


def test_a_busy_service_is_asked_again(place: Place) -> None:
    busy = refusal(400, "ThrottlingException")
    assert sound(place.speaker(busy, voices(), busy, refusal(500, "ServiceFailureException"), speech(PIECE))) == PIECE


def test_a_connection_that_was_closed_meanwhile_is_opened_anew(place: Place) -> None:
    assert sound(place.speaker(voices(), [Action.RESET], speech(PIECE))) == PIECE


@pytest.mark.parametrize(
    ("status", "name", "code", "tries"),
    [
        (400, "ThrottlingException", "provider_rate_limited", 4),
        (500, "ServiceFailureException", "provider_failed", 4),
        (403, "AccessDeniedException", "synthesizer_refused", 1),
        (403, "UnrecognizedClientException", "synthesizer_refused", 1),
        (400, "ExpiredTokenException", "synthesizer_refused", 1),
        (400, "EngineNotSupportedException", "provider_rejected", 1),
        (400, "LanguageNotSupportedException", "provider_rejected", 1),
    ],
)
def test_errors_of_the_service(place: Place, status: int, name: str, code: str, tries: int) -> None:
    speaker = place.speaker(voices(), *[refusal(status, name)] * tries)
    with pytest.raises(ProviderFailed) as failed:
        sound(speaker)
    assert failed.value.code == code and "words of the service" not in failed.value.detail
    assert place.server.replies == []


def test_sound_that_breaks_off(place: Place) -> None:
    speaking = place.speaker(voices(), speech(PIECE, then=[Action.CLOSE])).synthesize(
        "Hello.", ENGLISH, Codec.MP3, Deadline(10)
    )
    assert next(speaking) == PIECE
    with pytest.raises(ProviderFailed) as failed:
        next(speaking)
    assert failed.value.code == "stream_cut"


def test_nobody_listens_there() -> None:
    with wire() as server:
        away = PollySpeech(build_client(ACCOUNT, server.url, 8), "neural", backoff_seconds=0.001)
    with pytest.raises(ProviderFailed) as failed:
        sound(away)
    assert failed.value.code == "provider_unreachable" and "AWS_ENDPOINT_URL_POLLY" in failed.value.detail


def test_no_credentials(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    nobody = PollySpeech(build_client(AwsAccount("us-east-1"), place.server.url, 8), "neural")
    with pytest.raises(ProviderFailed) as failed:
        nobody.voices(Deadline(10))
    assert failed.value.code == "synthesizer_refused"


class Shortened(Deadline):
    """A deadline that a test can bring nearer."""

    def shorten(self, seconds: float) -> None:
        """Leave so many seconds from now."""
        self._end = time.monotonic() + seconds


@pytest.mark.parametrize("heard", [0, 1], ids=["silent", "stalled"])
def test_the_deadline_ends_a_wait(place: Place, heard: int) -> None:
    speaker, deadline = place.speaker(voices(), [*[HEAD, piece(PIECE)][: 2 * heard], Action.HANG]), Shortened(60)
    speaker.voices(deadline)
    speaking = speaker.synthesize("Hello.", ENGLISH, Codec.MP3, deadline)
    for _ in range(heard):
        assert next(speaking) == PIECE
    deadline.shorten(0.3)
    at = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        next(speaking)
    assert time.monotonic() - at < SOON


def is_left(speaker: PollySpeech, is_time: Callable[[int], bool]) -> None:
    """Expect that a synthesis ends when its listener leaves after so many bytes."""
    deadline, heard = Deadline(60), bytearray()
    with pytest.raises(CallCancelled), leaving(deadline, lambda: is_time(len(heard))):
        for piece in speaker.synthesize("Hello.", ENGLISH, Codec.MP3, deadline):
            heard.extend(piece)


UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "least"),
    [
        ([Action.HANG], 0),
        ([HEAD, piece(PIECE), Action.HANG], len(PIECE)),
        ([UNTIL_CLOSED, PIECE, Action.HANG], len(PIECE)),
    ],
    ids=["silent", "stalled", "until closed"],
)
def test_a_cancel_wakes_who_waits(place: Place, reply: Reply, least: int) -> None:
    speaker = place.speaker(voices(), reply)
    is_left(speaker, lambda heard: len(place.server.requests) == 2 and heard >= least)
    assert place.server.gone.wait(SOON)


def test_a_cancel_wakes_who_waits_for_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_side, _ = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "127.0.0.1.pem"))
    with wire(voices(), speech(PIECE, then=[Action.HANG]), tls=server_side) as server:
        speaker = PollySpeech(build_client(ACCOUNT, server.url, 8), "neural")
        is_left(speaker, lambda heard: heard == len(PIECE))
        assert server.gone.wait(SOON)


def test_a_strange_certificate_is_not_trusted(tmp_path: Path) -> None:
    server_side: ssl.SSLContext = certificate(tmp_path, "127.0.0.1")[0]
    with wire(tls=server_side) as server:
        with pytest.raises(ProviderFailed) as failed:
            sound(PollySpeech(build_client(ACCOUNT, server.url, 8), "neural"))
    assert failed.value.code == "provider_unreachable"


def test_closing_the_generator_ends_the_transfer(place: Place) -> None:
    speaker = place.speaker(voices(), speech(PIECE, then=[Action.HANG]))
    speaking = speaker.synthesize("Hello.", ENGLISH, Codec.MP3, Deadline(10))
    assert next(speaking) == PIECE
    speaking.close()
    assert place.server.gone.wait(SOON)


def test_the_address_of_another_s3_is_not_pollys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    client = build_client(AwsAccount("sa-east-1", "key", "secret"), "", 8)
    assert client.meta.endpoint_url == "https://polly.sa-east-1.amazonaws.com"


def test_texts_and_signatures_stay_out_of_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "orquestra")
    with pytest.raises(ProviderFailed):
        sound(
            place.speaker(voices(), refusal(400, "InvalidSsmlException", "in <a private text>")), text="a private text"
        )
    assert json.loads(place.server.requests[1].content)["Text"] == "a private text"
    assert "InvalidSsmlException" in caplog.text and "request r1" in caplog.text and "private" not in caplog.text
