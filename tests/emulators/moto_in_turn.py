"""moto's server, with one request at a time: started by tests, as a program of its own.

S3 takes the requests for one key one after the other. moto lets go of an object's content as soon as another one takes
its place, be it that the request which brought it has not been answered yet, and answers that one with 500.
"""

import sys
import threading
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class InTurn(DomainDispatcherApplication):
    """What moto serves, for one request at a time."""

    _turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request when those before it are answered."""
        with self._turn:
            return super().__call__(environ, start_response)


if __name__ == "__main__":
    run_simple(
        "127.0.0.1", int(sys.argv[1]), InTurn(create_backend_app), threaded=True, request_handler=MotoRequestHandler
    )
