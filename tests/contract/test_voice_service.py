"""The voice service with scripted providers: what is heard as what, how it is spoken, which voices are listed."""

import pytest

from models.answers import Inbound
from models.conversations import Channel
from models.deadline import Deadline
from models.errors import Invalid, ProviderFailed, TooLarge
from models.voice import Recording, SpeechFormat, Transcript, Upload, Voice
from services.arrivals import Arrivals
from services.leases import LeaseKeeper
from services.ports import AudioDecoder, SpeechSynthesizer, Transcriber
from services.providers.scripted_voice import ScriptedSynthesizer, ScriptedTranscriber
from services.voice.hearing import Hearing
from services.voice.on_use import OnUse
from services.voice.recorded import RecordedMessages
from services.voice.service import VoiceService
from services.voice.slots import FairSlots
from services.voice.speaking import Audio, Speaker
from tests.contract.engine import KeptPlaces
from tests.contract.stores import Stores, make_assistant

FILE, BARE = Upload(b"a file of sound"), Upload(b"bare samples")
VOICES = (Voice("a", "Ana", ("pt-BR", "en-US")), Voice("b", "Rui", ("pt",)), Voice("c", "Eva", ("PTX-PT", "fr")))


class OnlyFiles:
    """Implement `AudioDecoder` for `FILE`, and for samples whose rate is told."""

    def decode(self, upload: Upload, deadline: Deadline) -> Recording:
        """Return the upload's bytes as sound."""
        if upload.content != FILE.content and upload.sample_rate is None:
            raise Invalid("There is no sound in it.", code="audio_unreadable")
        return Recording(upload.content, upload)


class Polyglot(ScriptedSynthesizer):
    """Speak with several voices."""

    def voices(self, deadline: Deadline) -> tuple[Voice, ...]:
        """Return them."""
        return VOICES


class Desk:
    """A voice service, and what it asks."""

    def __init__(self, stores: Stores, *planned: Transcript | BaseException) -> None:
        self.transcriber, self.synthesizer = ScriptedTranscriber(planned), Polyglot()
        decoder: OnUse[AudioDecoder] = OnUse(OnlyFiles)
        transcriber: OnUse[Transcriber] = OnUse(lambda: self.transcriber)
        synthesizer: OnUse[SpeechSynthesizer] = OnUse(lambda: self.synthesizer)
        hearing = Hearing(decoder, transcriber, 100)
        arrivals = Arrivals(stores.conversations, stores.chats, KeptPlaces(), LeaseKeeper())
        recorded = RecordedMessages(stores.chats, arrivals, hearing)
        self.service = VoiceService(hearing, recorded, Speaker(synthesizer, FairSlots(2)), synthesizer)
        self.message = Inbound(make_assistant(language="pt-BR"), Channel("a", "voice"), "")


def test_what_is_no_file_is_heard_as_bare_samples_where_these_may_come(stores: Stores) -> None:
    desk = Desk(stores, Transcript("one"), Transcript("two"))
    assert desk.service.heard(desk.message, FILE, Deadline(5), bare_rate=41_000).text == "one"
    assert desk.service.heard(desk.message, BARE, Deadline(5), bare_rate=41_000).text == "two"
    assert [recording.upload.sample_rate for recording, _ in desk.transcriber.recordings] == [None, 41_000]
    with pytest.raises(Invalid) as refused:
        desk.service.heard(desk.message, BARE, Deadline(5))
    assert refused.value.code == "audio_unreadable"


def test_a_recording_of_more_bytes_than_an_upload_may_have_is_not_even_decoded(stores: Stores) -> None:
    desk = Desk(stores)
    with pytest.raises(TooLarge) as refused:
        desk.service.heard(desk.message, Upload(b"x" * 101), Deadline(5), bare_rate=41_000)
    assert refused.value.code == "too_large"


@pytest.mark.parametrize(
    "begins",
    [b"\0\0\0\x20ftypM4A ", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0WAVE", b"OggS", b"\xff\xd8\xff\xe0", b"%PDF-1.7"],
    ids=["m4a", "webm", "wav", "ogg", "jpeg", "pdf"],
)
def test_a_file_that_cannot_be_read_is_not_taken_for_samples(stores: Stores, begins: bytes) -> None:
    desk = Desk(stores, Transcript("noise"))
    with pytest.raises(Invalid) as refused:
        desk.service.heard(desk.message, Upload(begins + b"\1\2" * 20), Deadline(5), bare_rate=41_000)
    assert refused.value.code == "audio_unreadable"
    assert desk.transcriber.recordings == []


@pytest.mark.parametrize("error", [Invalid("Nobody speaks.", code="no_speech"), ProviderFailed("It is down.")])
def test_a_file_that_was_read_is_not_taken_for_samples(stores: Stores, error: Exception) -> None:
    desk = Desk(stores, error)
    with pytest.raises(type(error)):
        desk.service.heard(desk.message, FILE, Deadline(5), bare_rate=41_000)
    assert len(desk.transcriber.recordings) == 1


def test_the_language_that_is_expected_is_the_requests_or_else_the_assistants(stores: Stores) -> None:
    desk = Desk(stores, *[Transcript("said")] * 4)
    desk.service.heard(desk.message, FILE, Deadline(5))
    desk.service.heard(desk.message, FILE, Deadline(5), language="fr-FR")
    text, heard = desk.service.transcribe(desk.message.assistant, FILE, None, Deadline(5))
    desk.service.transcribe(desk.message.assistant, FILE, "de-DE", Deadline(5))
    assert [language for _, language in desk.transcriber.recordings] == ["pt-BR", "fr-FR", "pt-BR", "de-DE"]
    assert (text, heard.transcriber, heard.language) == ("said", "scripted", "pt-BR")


def test_a_text_is_spoken_as_the_request_says_or_else_as_the_assistant_does(stores: Stores) -> None:
    desk = Desk(stores)
    say, assistant = desk.service.say, make_assistant(language="pt-BR", voice="a")
    assert list(say(assistant, "Bom dia.", SpeechFormat.PCM, Deadline(5))) == [Audio(b"Bom dia.")]
    list(say(assistant, "Bonjour.", SpeechFormat.PCM, Deadline(5), language="fr", voice="c"))
    assert [(manner.language[:2], manner.voice) for _, manner in desk.synthesizer.texts] == [("pt", "a"), ("fr", "c")]
    assert desk.service.rate_of(SpeechFormat.WAV) == 24_000


@pytest.mark.parametrize(
    ("language", "ids"),
    [(None, "abc"), ("pt", "ab"), ("pt-BR", "a"), ("PT-br", "a"), ("en", "a"), ("p", ""), ("pt-PT", "")],
)
def test_voices_are_listed_by_language(stores: Stores, language: str | None, ids: str) -> None:
    name, voices = Desk(stores).service.voices(language, Deadline(5))
    assert (name, "".join(voice.id for voice in voices)) == ("scripted", ids)
