"""`make demo-voice`: a fresh server, the sample documents, a spoken question, and the answer as an MP3.

Nothing but this machine is asked: pocketsphinx hears the question, the offline model finds the answer, espeak-ng speaks
it. `python -m bench.demo_voice <folder>` saves the answer elsewhere than in `var`.
"""

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import httpx2

from bench.demo import prepare
from bench.running import ROOT, running_server

QUESTION = ROOT / "assets" / "samples" / "voice" / "question.wav"
_HELD = ("X-Chat-ID", "X-Transcript", "X-Transcriber")


def main(folder: Path) -> int:
    """Run the demo and save the answer as `answer.mp3` in the folder; return 0 if it can be heard."""
    with tempfile.TemporaryDirectory(prefix="orquestra-voice-") as data, running_server(Path(data)) as server:
        sys.stdout.write(f"A server is running at {server.url}\n")
        with httpx2.Client(base_url=server.url, timeout=60) as client:
            key = prepare(client)
            sound, headers, seconds = ask(client, key, QUESTION.read_bytes())
            chat = client.get(f"/chats/get/{headers['X-Chat-ID']}").raise_for_status().json()
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / "answer.mp3"
    answer.write_bytes(sound)
    tell(headers, chat, seconds)
    length = seconds_of(sound)
    sys.stdout.write(f"\nSaved as {answer}: {length:.2f} s of speech. The server has stopped.\n")
    return 0 if length > 1 else 1


def ask(client: httpx2.Client, key: str, recording: bytes) -> tuple[bytes, dict[str, str], float]:
    """Send a recording and return the spoken answer, its headers, and the seconds until its sound began."""
    began = time.monotonic()
    asking = client.stream(
        "POST",
        "/voice/processAudioFile",
        headers={"X-API-Key": key, "Authorization": ""},
        files={"file": (QUESTION.name, recording, "audio/wav")},
    )
    with asking as response:
        response.raise_for_status()
        pieces = response.iter_bytes()
        sound = next(pieces, b"")
        seconds = time.monotonic() - began
        sound += b"".join(pieces)
        return sound, {name: unquote(response.headers[name]) for name in _HELD}, seconds


def tell(headers: dict[str, str], chat: dict[str, Any], seconds: float) -> None:
    """Print what was understood, by whom, and what is answered."""
    sys.stdout.write(
        f"\nSaid:        {QUESTION.relative_to(ROOT)}\n"
        f"Transcript:  {headers['X-Transcript']}\n"
        f"Transcriber: {headers['X-Transcriber']}\n"
        f"Chat:        {headers['X-Chat-ID']}\n"
        f"Answer:      {' '.join(chat['response'].split())}\n"
        f"First sound: after {seconds:.1f} s, in which the transcriber was started too\n"
    )


def seconds_of(mp3: bytes) -> float:
    """Return how long an MP3 plays, by decoding it."""
    with av.open(io.BytesIO(mp3), "r", format="mp3") as file:
        return sum((frame.samples / frame.sample_rate for frame in file.decode(file.streams.audio[0])), 0.0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("var")))
