"""What is to be said of an answer, sentence by sentence, while it is written."""

from collections.abc import Iterator, Sequence

from models.errors import Unavailable
from services.voice.languages import spoken_language
from services.voice.read_out import SpokenText
from services.voice.sentences import SentenceStream
from services.voice.sounds import Sentence

_ENDS = tuple(".!?…。！？")
_PIECE = 500  # longer than any sentence, but for links


class Script:
    """Turn the text of an answer, and the filler before it, into sentences to say.

    Args:
        language: BCP 47 tag of the answer; None to find it out from its first words.
        heard: BCP 47 tag of what the person said, if it was heard.
    """

    def __init__(self, language: str | None, heard: str | None) -> None:
        self._language = language
        self._heard = heard
        self._questions: list[str] = []
        self._answer = self._part()
        self._written: list[str] = []
        self._filler: _Part | None = None

    def answers(self, question: str) -> None:
        """Say what the answer is to: its language is that of the answer, too."""
        self._questions.append(question)

    def answer(self, text: str) -> Sequence[Sentence]:
        """Return the sentences that the answer's next piece of text completes."""
        self._written.append(text)
        return self._answer.feed(text)

    def filler(self, text: str) -> Sequence[Sentence]:
        """Return the sentences that the next piece of filler completes.

        Nothing tells where filler ends, so a full stop does: what follows may be silence.
        """
        if self._filler is None:
            self._filler = self._part(is_filler=True)
        sentences = self._filler.feed(text)
        if text.rstrip().endswith(_ENDS):
            sentences = [*sentences, *self._filler.finish()]
            self._filler = self._part(is_filler=True)
        return sentences

    def ends_filler(self) -> bool:
        """Say that the answer goes on; return whether there was filler, whose unfinished sentence is forgotten."""
        filler, self._filler = self._filler, None
        return filler is not None

    def pause(self) -> Sequence[Sentence]:
        """Return the answer's unfinished sentence: tools run now, and what comes after them is a new paragraph."""
        return self._answer.feed("\n")

    def settle(self, response: str) -> Sequence[Sentence]:
        """Return what the answer as it is stored has before its last sentence, if nothing of it was written here.

        Raises:
            Unavailable: code `answer_overtaken`, it is another answer: another server took the message over meanwhile.
        """
        written = "".join(self._written)
        if not written:
            return self.answer(response)
        if written != response:
            raise Unavailable(
                "Another server has answered this message meanwhile. Deliver it again to get that answer.",
                code="answer_overtaken",
            )
        return ()

    def forget(self) -> None:
        """Forget the answer's unfinished sentence."""
        self._answer = self._part()

    def finish(self) -> Sequence[Sentence]:
        """Return the last sentence, also if it has no full stop."""
        return self._answer.finish()

    def _part(self, *, is_filler: bool = False) -> "_Part":
        return _Part(self._language, self._heard, self._questions, is_filler)


class _Part:
    """The sentences of the answer, or of the filler."""

    def __init__(self, language: str | None, heard: str | None, questions: Sequence[str], is_filler: bool) -> None:
        self._sentences = SentenceStream(language)
        self._text = SpokenText()
        self._language = language
        self._heard = heard
        self._questions = questions
        self._is_filler = is_filler
        self._spoken_in: str | None = None

    def feed(self, text: str) -> list[Sentence]:
        """Return the sentences that are complete by now."""
        return self._said(self._sentences.feed(text))

    def finish(self) -> list[Sentence]:
        """Return the rest."""
        return self._said(self._sentences.finish())

    def _said(self, sentences: Sequence[str]) -> list[Sentence]:
        """Return what is said of some sentences, all of it in the language of the first."""
        said = []
        for text in filter(None, map(self._text.read, sentences)):
            if self._spoken_in is None:
                self._spoken_in = spoken_language(self._language, self._heard, text, *self._questions)
            said.append(Sentence(text, self._spoken_in, self._is_filler))
        return said


def is_said(text: str) -> bool:
    """Tell whether anything of a text is said: of code, addresses and emoji alone nothing is.

    It reads no further than the first words: lists ask it of every chat.
    """
    spoken = SpokenText()
    return any(map(spoken.read, _sentences(text)))


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, each cut only when it is asked for."""
    sentences = SentenceStream("en")
    for begin in range(0, len(text), _PIECE):
        yield from sentences.feed(text[begin : begin + _PIECE])
    yield from sentences.finish()
