"""Amazon Polly, ours and therefore NOT independent: no emulator of others speaks, and moto says eight zero bytes.

Replies for `openai_wire.wire`, and a server that answers by itself. Voices have the members of botocore's description,
which requests are checked against.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.emulators.aws_model import polly_call, service_model
from tests.emulators.openai_wire import END, Recorded, Reply, Step, document, piece

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
"""The head of an answer with sound; `piece` and `END` follow."""


def voice(id: str, language: str, *additional: str, engines: Sequence[str] = ("neural",)) -> dict[str, Any]:
    """Return one voice of a list."""
    made: dict[str, Any] = {
        "Gender": "Female", "Id": id, "LanguageCode": language, "LanguageName": language, "Name": id,
        "SupportedEngines": list(engines),
    }  # fmt: skip
    if additional:
        made["AdditionalLanguageCodes"] = list(additional)
    shape: Any = service_model("polly").shape_for("Voice")
    assert set(made) <= set(shape.members) and {language, *additional} <= set(shape.members["LanguageCode"].enum)
    return made


VOICES = (
    voice("Joanna", "en-US"),
    voice("Kajal", "en-IN", "hi-IN"),
    voice("Camila", "pt-BR"),
    voice("Ines", "pt-PT"),
    voice("Zhiyu", "cmn-CN"),
)


def voices(*listed: dict[str, Any], more: str | None = None) -> Reply:
    """Return a page of voices; `more` is the token of the next one."""
    return document(200, {"Voices": list(listed or VOICES)} | ({"NextToken": more} if more else {}))


def speech(*pieces: bytes, then: Sequence[Step] = (END,)) -> Reply:
    """Return the reply of sound that comes in pieces."""
    return [HEAD, *map(piece, pieces), *then]


def refusal(status: int, code: str, words: str = "words of the service") -> Reply:
    """Return the reply of an error."""
    headers = {"x_amzn_ErrorType": f"{code}:http://service.example/", "x_amzn_RequestId": "r1"}
    return document(status, {"message": words}, **headers)


Sound = Callable[[dict[str, Any]], bytes]
"""Returns the sound of the members of `SynthesizeSpeech`."""


@contextlib.contextmanager
def polly(sound: Sound) -> Iterator[str]:
    """Answer any calls on a free port of the loopback address, and give its URL."""
    with _Server(sound) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, sound: Sound) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sound = sound

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the client sees a connection without an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer a call."""
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        operation, members = polly_call(Recorded(self.command, self.path, {}, content))
        speaks = operation == "SynthesizeSpeech"
        body = self.server.sound(members) if speaks else json.dumps({"Voices": VOICES}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "audio/mpeg" if speaks else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a listener may leave
            self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
