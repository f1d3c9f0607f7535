"""espeak-ng itself, as its wheel brings it: voices, languages, what aborts it, and that no listener holds it up."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import av
import numpy
import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid, ProviderFailed
from models.voice import AudioFormat, Codec, Manner
from services.providers.espeak_library import EspeakLibrary
from services.providers.espeak_speech import EspeakSpeech

_TEXT = "The office opens at nine in the morning, and closes at six in the evening."
_LONG = _TEXT * 400


@pytest.fixture(scope="module")
def espeak() -> EspeakSpeech:
    return EspeakSpeech()


def _samples(espeak: EspeakSpeech, manner: Manner, text: str = _TEXT) -> bytes:
    return b"".join(espeak.synthesize(text, manner, Codec.PCM, Deadline(10)))


def test_the_library_speaks_at_its_own_rate(espeak: EspeakSpeech) -> None:
    assert [espeak.format_of(codec) for codec in Codec] == [AudioFormat(codec, 22_050) for codec in Codec]


def test_the_sound_is_no_silence(espeak: EspeakSpeech) -> None:
    sound = numpy.frombuffer(_samples(espeak, Manner("en-US")), numpy.int16)
    assert numpy.abs(sound.astype(int)).mean() > 500


def test_mp3_has_bare_frames_of_the_same_length(espeak: EspeakSpeech) -> None:
    mp3 = b"".join(espeak.synthesize(_TEXT, Manner("en-US"), Codec.MP3, Deadline(10)))
    assert mp3[0] == 0xFF and b"Xing" not in mp3 and b"Info" not in mp3
    with av.open(io.BytesIO(mp3), "r", format="mp3") as file:
        seconds = sum(frame.samples / frame.sample_rate for frame in file.decode(file.streams.audio[0]))
    assert seconds == pytest.approx(len(_samples(espeak, Manner("en-US"))) / (2 * 22_050), abs=0.15)


def test_every_voice_that_is_listed_can_be_heard(espeak: EspeakSpeech) -> None:
    ids = [voice.id for voice in espeak.voices(Deadline(10))]
    assert [id for id in ids if len(_samples(espeak, Manner("en-US", id), "Taxi 25")) < 2 * 22_050 // 4] == []


def test_no_voice_changes_how_another_one_speaks(espeak: EspeakSpeech) -> None:
    before = len(_samples(espeak, Manner("en-US")))
    _samples(espeak, Manner("uk-UA"))
    assert len(_samples(espeak, Manner("en-US"))) == pytest.approx(before, rel=0.02)


def test_each_language_has_a_voice_of_its_own(espeak: EspeakSpeech) -> None:
    text = "Taxi 25"
    heard = {tag: _samples(espeak, Manner(tag), text) for tag in ("en-US", "pt-BR", "pt-PT", "zh-CN", "zh-HK", "de")}
    assert len(set(heard.values())) == len(heard)


@pytest.mark.parametrize(
    ("tag", "voice"),
    [
        ("pt", "pt"),
        ("en-GB", "en-gb"),
        ("de-AT", "de"),
        ("fr-CA", "fr-fr"),
        ("es-MX", "es-419"),
        ("zh-Hans-CN", "cmn"),
        ("zh-TW", "cmn"),
        ("zh-HK", "yue"),
        ("EN-us", "en-us"),
    ],
)
def test_a_language_is_spoken_by_the_voice_that_fits_best(espeak: EspeakSpeech, tag: str, voice: str) -> None:
    text = "12 taxi"
    assert len(_samples(espeak, Manner(tag), text)) == pytest.approx(
        len(_samples(espeak, Manner("xx", voice), text)), abs=1_000
    )


def test_a_language_without_a_voice_is_refused(espeak: EspeakSpeech) -> None:
    with pytest.raises(Invalid) as caught:
        _samples(espeak, Manner("tlh-Latn"))
    assert caught.value.code == "voice_unknown" and "tlh-Latn" in caught.value.detail


def test_voices_have_variants(espeak: EspeakSpeech) -> None:
    plain, woman = (_samples(espeak, Manner("pt-BR", voice)) for voice in ("pt-br", "PT-BR+F3"))
    assert plain and woman and plain != woman


@pytest.mark.parametrize(
    "voice", ["nobody", "pt-br+nobody", "+f3", "../../roa/pt-BR", "roa/pt-BR", "pt-br+../f3", "!v/f3"]
)
def test_only_listed_voices_are_known(espeak: EspeakSpeech, voice: str) -> None:
    with pytest.raises(Invalid) as caught:
        _samples(espeak, Manner("pt-BR", voice))
    assert caught.value.code == "voice_unknown"


def test_the_voices_are_listed_with_proper_tags(espeak: EspeakSpeech) -> None:
    voices = {voice.id: voice.languages for voice in espeak.voices(Deadline(5))}
    assert len(voices) > 130
    assert voices["pt-br"] == ("pt-BR", "pt")
    assert voices["cmn"][0] == "cmn" and "zh-CN" in voices["cmn"]


def test_every_listed_voice_can_be_chosen(espeak: EspeakSpeech) -> None:
    ids = [voice.id for voice in espeak.voices(Deadline(5))]
    assert [id for id in ids if not _samples(espeak, Manner("xx", id), "12")] == []


@pytest.mark.parametrize("text", ["", " ", "\0", "a\0b", "\ud83d", "<speak>&amp;", "[[h@'loU]]", "😀", "１２３"])
def test_no_text_harms_it(espeak: EspeakSpeech, text: str) -> None:
    _samples(espeak, Manner("en-US"), text)
    assert _samples(espeak, Manner("en-US"))


def test_a_listener_who_takes_his_time_holds_up_nobody(espeak: EspeakSpeech) -> None:
    slow = espeak.synthesize(_TEXT, Manner("en-US"), Codec.MP3, Deadline(30))
    assert next(slow)
    assert _samples(espeak, Manner("en-US"))
    assert b"".join(slow)


def test_many_speak_at_once_each_in_its_own_language(espeak: EspeakSpeech) -> None:
    tags = ["en-US", "pt-BR", "zh-CN", "de"] * 4
    alone = {tag: len(_samples(espeak, Manner(tag))) for tag in tags}
    with ThreadPoolExecutor(16) as pool:
        lengths = list(pool.map(lambda tag: len(_samples(espeak, Manner(tag))), tags))
    assert lengths == [pytest.approx(alone[tag], abs=2_000) for tag in tags]


class Ending(Deadline):
    """A deadline that is cancelled, or up, as it is looked at for the tenth time, and counts on.

    Attributes:
        looks: how often it has been looked at.
    """

    def __init__(self, *, is_cancelled: bool) -> None:
        super().__init__(60)
        self.looks = 0
        self._is_cancelled = is_cancelled

    def remaining(self) -> float:
        """Return a minute or nothing."""
        self.looks += 1
        if self.looks >= 10 and self._is_cancelled:
            self.cancel()
        return 60.0 if self.looks < 10 or self._is_cancelled else 0.0


@pytest.mark.parametrize(("is_cancelled", "error"), [(True, CallCancelled), (False, DeadlineExceeded)])
def test_leaving_and_the_deadline_abort_the_library(
    espeak: EspeakSpeech, is_cancelled: bool, error: type[Exception]
) -> None:
    deadline = Ending(is_cancelled=is_cancelled)
    with pytest.raises(error):
        list(espeak.synthesize(_LONG, Manner("en-US"), Codec.PCM, deadline))
    assert deadline.looks <= 12, "it looks before each piece of a text that has thousands"
    assert _samples(espeak, Manner("en-US"))


def test_a_library_that_is_asked_to_stop_returns_what_it_has() -> None:
    library = EspeakLibrary()
    asked: list[None] = []

    def go_on() -> bool:
        asked.append(None)
        return len(asked) < 3

    pieces = library.speak(_LONG, "gmw/en-US", go_on)
    assert len(asked) == 3 and len(pieces) == 3


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ProviderFailed) as caught:
        EspeakSpeech()
    assert caught.value.code == "offline_speech_missing" and "requirements-offline.txt" in caught.value.detail
