"""espeak-ng, loaded at run time: its C functions as one Python object.

The library comes with its voices in the wheel `espeakng-loader`, an optional requirement. The functions are those of
its header `speak_lib.h`. It keeps its state to itself and is not safe for threads, so whoever speaks holds a lock that
is one for the process.
"""

import ctypes
import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile

from models.errors import ProviderFailed

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_DO_NOT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: without its data it would end the process
_PIECE_MS = 200  # how much sound one callback brings
_FROM_CHARACTERS = 1  # POS_CHARACTER
_UTF8 = 1  # espeakCHARS_UTF8
_OK = 0  # EE_OK
_RATE, _WORDS_A_MINUTE = 1, 175  # espeakRATE, and its default
_GO_ON, _ABORT = 0, 1
_GLANCE_SECONDS = 0.1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """`espeak_VOICE`."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Voices = ctypes.POINTER(ctypes.POINTER(_Voice))


@dataclass(frozen=True)
class LibraryVoice:
    """A voice as the library describes it.

    Attributes:
        identifier: what `speak` takes; its file.
        languages: tag in lower case -> how well it fits, the smaller the better; its own language first.
    """

    name: str
    identifier: str
    languages: dict[str, int]


class EspeakLibrary:
    """The loaded library.

    Attributes:
        rate: samples a second.

    Raises:
        ProviderFailed: code `offline_speech_missing`, it is not installed or does not run here.
    """

    _lock = threading.Lock()

    def __init__(self) -> None:
        self._functions, data_path = _loaded()
        with self._lock:
            self.rate: int = self._functions.espeak_Initialize(
                _SYNCHRONOUS, _PIECE_MS, data_path.encode(), _DO_NOT_EXIT
            )
        if self.rate <= 0:
            raise _missing()

    def voices(self) -> list[LibraryVoice]:
        """Return the voices, each with its languages."""
        return self._listed(None)

    def variants(self) -> list[str]:
        """Return what can follow a voice's identifier after a `+`, such as `f3`."""
        only_variants = _Voice(languages=ctypes.cast(ctypes.c_char_p(b"variant"), ctypes.c_void_p))
        return [voice.identifier.removeprefix("!v/") for voice in self._listed(ctypes.byref(only_variants))]

    def speak(self, text: str, voice: str, go_on: Callable[[], bool]) -> list[bytes]:
        """Return the sound of a text, signed 16 bit samples in pieces.

        Args:
            voice: an identifier, with a variant or not.
            go_on: asked before each piece and while others speak; once it says no, the text is given up. It must not
                raise.

        Raises:
            ProviderFailed: the library refuses the text.
        """
        while not self._lock.acquire(timeout=_GLANCE_SECONDS):
            if not go_on():
                return []
        pieces: list[bytes] = []

        def take(samples: int | None, length: int, events: int | None) -> int:
            if samples and length > 0:
                pieces.append(ctypes.string_at(samples, 2 * length))
            return _GO_ON if go_on() else _ABORT

        callback = _Callback(take)  # has to live as long as the library may call it
        content = text.encode(errors="replace").replace(b"\0", b" ") + b"\0"
        try:
            self._functions.espeak_SetSynthCallback(callback)
            done = self._functions.espeak_SetVoiceByName(voice.encode())
            if done == _OK:  # a voice that is slower than others leaves its speed to the next one, unless that is set
                done = self._functions.espeak_SetParameter(_RATE, _WORDS_A_MINUTE, 0)
            if done == _OK:
                done = self._functions.espeak_Synth(content, len(content), 0, _FROM_CHARACTERS, 0, _UTF8, None, None)
        finally:
            self._lock.release()
        if done != _OK:
            raise ProviderFailed("The offline voice failed. Try again, or choose another voice.")
        return pieces

    def _listed(self, only: object) -> list[LibraryVoice]:
        with self._lock:
            found = self._functions.espeak_ListVoices(only)
            voices = (found[number].contents for number in takewhile(lambda number: found[number], count()))
            return [
                LibraryVoice(voice.name.decode().strip(), voice.identifier.decode(), _languages(voice.languages))
                for voice in voices
            ]


def _languages(address: int) -> dict[str, int]:
    """Read a row of (one byte of priority, a name that ends with a zero byte), which a priority of zero ends."""
    tags: dict[str, int] = {}
    while priority := ctypes.string_at(address, 1)[0]:
        tag = ctypes.string_at(address + 1)
        tags[tag.decode().lower()] = priority
        address += 2 + len(tag)
    return tags


def _loaded() -> tuple[ctypes.CDLL, str]:
    try:
        loader = importlib.import_module("espeakng_loader")
        functions = ctypes.CDLL(loader.get_library_path())
        data_path = str(loader.get_data_path())
    except (ImportError, OSError, RuntimeError) as error:
        raise _missing() from error
    functions.espeak_ListVoices.restype = _Voices
    functions.espeak_ListVoices.argtypes = [ctypes.c_void_p]
    functions.espeak_SetSynthCallback.argtypes = [_Callback]
    functions.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    functions.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    functions.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p,
        ctypes.c_void_p,
    ]  # fmt: skip
    return functions, data_path


def _missing() -> ProviderFailed:
    return ProviderFailed(
        "The offline voice is not installed. Run `pip install -r requirements-offline.txt`, or set SPEECH to a "
        "provider.",
        code="offline_speech_missing",
    )
