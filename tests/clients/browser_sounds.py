"""A real browser that plays what it is given, and records a melody as a web page does."""

import json
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from tests.corpus.sounds import NOTES

_PAGE = """<!doctype html><meta charset="utf-8"><script>
const names = %(names)s, sentences = %(sentences)s, played = %(played)s, notes = %(notes)s;
const bytesOf = async name => (await fetch("/files/" + encodeURIComponent(name))).arrayBuffer();
const send = (path, body) => fetch(path, {method: "POST", body});
const decoded = async context => {
  const seconds = {};
  for (const name of names) {
    try { seconds[name] = (await context.decodeAudioData(await bytesOf(name))).duration; }
    catch (error) { seconds[name] = -1; }
  }
  return seconds;
};
const heard = async () => {
  const seconds = {};
  await Promise.all(played.map(async name => {
    const audio = new Audio("/files/" + encodeURIComponent(name));
    audio.playbackRate = 4;
    const end = new Promise((resolve, reject) => { audio.onended = resolve; audio.onerror = reject; });
    await audio.play();
    await end;
    seconds[name] = audio.currentTime;
  }));
  return seconds;
};
const streamed = async () => {
  const source = new MediaSource(), audio = new Audio(URL.createObjectURL(source));
  await new Promise(resolve => source.onsourceopen = resolve);
  const buffer = source.addSourceBuffer("audio/mpeg");
  buffer.mode = "sequence";
  for (const name of sentences) {
    const appended = new Promise(resolve => buffer.onupdateend = resolve);
    buffer.appendBuffer(await bytesOf(name));
    await appended;
  }
  source.endOfStream();
  return {ranges: buffer.buffered.length, seconds: buffer.buffered.end(0)};
};
const recorded = async (context, mimeType) => {
  const tone = context.createOscillator(), target = context.createMediaStreamDestination(), parts = [];
  const recorder = new MediaRecorder(target.stream, {mimeType});
  recorder.ondataavailable = event => parts.push(event.data);
  const stopped = new Promise(resolve => recorder.onstop = resolve);
  const started = new Promise(resolve => recorder.onstart = resolve);
  tone.connect(target);
  recorder.start(100);
  await started;
  const begin = context.currentTime;
  notes.forEach((note, number) => tone.frequency.setValueAtTime(note, begin + number / 2));
  tone.start(begin);
  tone.stop(begin + notes.length / 2);
  await new Promise(resolve => tone.onended = resolve);
  recorder.stop();
  await stopped;
  await send("/recorded/" + encodeURIComponent(mimeType), new Blob(parts));
};
(async () => {
  const context = new AudioContext();
  const types = ["audio/webm;codecs=opus", "audio/mp4;codecs=opus", "audio/mp4;codecs=mp4a.40.2"];
  const recordings = types.filter(type => MediaRecorder.isTypeSupported(type)).map(type => recorded(context, type));
  const result = {decoded: await decoded(context), played: await heard(), streamed: await streamed()};
  await Promise.all(recordings);
  await send("/result", JSON.stringify(result));
})().catch(error => send("/result", JSON.stringify({error: String(error)})));
</script>"""
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-sync --disable-background-networking "
    "--disable-component-update --autoplay-policy=no-user-gesture-required --mute-audio"
)
_WITHIN = 60.0


@dataclass
class BrowserSounds:
    """What a browser made of some files.

    Attributes:
        decoded: file -> seconds of sound that its decoder finds, -1 if it finds none.
        played: file -> second at which the player's end came.
        streamed: what MediaSource has of appended sentences: how many `ranges`, and their end in `seconds`.
        recordings: type -> what MediaRecorder made of the melody.
    """

    decoded: dict[str, float] = field(default_factory=dict)
    played: dict[str, float] = field(default_factory=dict)
    streamed: dict[str, float] = field(default_factory=dict)
    recordings: dict[str, bytes] = field(default_factory=dict)


def in_browser(
    browser: str, folder: Path, files: Mapping[str, bytes], sentences: list[str], played: list[str]
) -> BrowserSounds:
    """Have the browser decode all files, play some to their end, append sentences to a stream, and record.

    Args:
        folder: for the browser's profile.
    """
    values = {"names": list(files), "sentences": sentences, "played": played, "notes": NOTES}
    page = (_PAGE % {name: json.dumps(value) for name, value in values.items()}).encode()
    sounds, result, done = BrowserSounds(), {}, threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(self.path.removeprefix("/files/"))
            self._answer(page if self.path == "/" else files.get(name, b""))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"")
            if self.path == "/result":
                result.update(json.loads(body))
                done.set()
            else:
                sounds.recordings[unquote(self.path.removeprefix("/recorded/"))] = body

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if body is page else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [browser, *_OPTIONS.split(), f"--user-data-dir={folder}", f"http://127.0.0.1:{server.server_port}/"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            assert done.wait(_WITHIN), "the browser has not told anything"
        finally:
            process.terminate()
            process.wait(20)
            server.shutdown()
    assert "error" not in result, result
    sounds.decoded, sounds.played, sounds.streamed = result["decoded"], result["played"], result["streamed"]
    return sounds
