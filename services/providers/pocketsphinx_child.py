"""What the transcriber's child process runs: `python -m services.providers.pocketsphinx_child`.

It reads recordings from standard input, each behind its `LENGTH`, and writes each one's text to standard output in the
same way. pocketsphinx holds Python's lock while it decodes, for seconds, hence a process
of its own. It ends with its parent, even in the middle of a recording.
"""

import fcntl
import os
import resource
import select
import sys
from collections.abc import Iterator

from pocketsphinx import Decoder, Vad

from services.providers.pocketsphinx_transcriber import LENGTH

_MOST_MEMORY = 2**30
_PAUSE = 0.5
"""Seconds without speech after which it is another part."""
_AROUND = 0.3
"""Seconds of a pause that stay with the speech: what the decoder learns the noise from."""
_SHORTEST, _LONGEST = 0.12, 20.0
"""Seconds of a part: what is shorter is a noise, and memory grows with the length."""


def transcribe(decoder: Decoder, samples: bytes) -> str:
    """Return what is said, in lower case and without punctuation; "" if nobody speaks.

    Silence is left out: the decoder hears words in it.

    Args:
        samples: signed 16 bit, mono, 16,000 a second.
    """
    return " ".join(filter(None, (_decoded(decoder, part) for part in _speech(samples))))


def _decoded(decoder: Decoder, samples: bytes) -> str:
    decoder.reinit_feat()  # else what one recording sounded like changes what is understood of the next one
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


def _speech(samples: bytes) -> Iterator[bytes]:
    """Yield the parts in which somebody speaks, each with a little of the silence around it."""
    detector = Vad()
    size, frame = detector.frame_bytes, detector.frame_length
    whole = range(0, len(samples) - size + 1, size)
    spoken = [number for number, at in enumerate(whole) if detector.is_speech(samples[at : at + size])]
    shortest, pause, longest, around = (round(seconds / frame) for seconds in (_SHORTEST, _PAUSE, _LONGEST, _AROUND))
    parts = [part for run in _runs(spoken, pause) for part in _cut(run, longest)]
    ends = [0, *(part[-1] + 1 for part in parts)]
    begins = [*(part[0] for part in parts), len(whole)]
    for part, before, behind in zip(parts, ends[:-1], begins[1:], strict=True):
        if part[-1] - part[0] >= shortest:
            begin, end = max(before, part[0] - around), min(behind, part[-1] + 1 + around)
            yield samples[begin * size : end * size]


def _runs(spoken: list[int], pause: int) -> list[list[int]]:
    """Part frames in which somebody speaks where nobody does for a while."""
    runs: list[list[int]] = []
    for number in spoken:
        if not runs or number - runs[-1][-1] > pause:
            runs.append([])
        runs[-1].append(number)
    return runs


def _cut(run: list[int], longest: int) -> Iterator[list[int]]:
    """Yield a run, or if it is too long parts of it, cut in the longest pauses around their middles."""
    if run[-1] - run[0] < longest:
        yield run
        return
    middle = range(len(run) // 4, 3 * len(run) // 4)
    at = max(middle, key=lambda number: run[number + 1] - run[number]) + 1
    yield from _cut(run[:at], longest)
    yield from _cut(run[at:], longest)


def _end_with_the_parent(*, now: bool) -> None:
    """Have the kernel end this process (SIGIO) as soon as something happens to standard input, or no longer."""
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC if now else flags & ~os.O_ASYNC)
    if now and select.select([0], [], [], 0)[0]:
        sys.exit("the parent is gone")


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoder = Decoder(loglevel="FATAL")
    while len(head := sys.stdin.buffer.read(LENGTH.size)) == LENGTH.size:
        samples = sys.stdin.buffer.read(*LENGTH.unpack(head))
        _end_with_the_parent(now=True)
        text = transcribe(decoder, samples).encode()
        _end_with_the_parent(now=False)
        sys.stdout.buffer.write(LENGTH.pack(len(text)) + text)
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
