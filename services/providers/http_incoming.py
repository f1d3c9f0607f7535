"""What comes of an HTTP/1.1 response, however it is cut into pieces."""

import httptools
import httpx2

_FIRST_FINAL_STATUS = 200
_HEAD_BYTES = 1 << 18


class Incoming:
    """A response of HTTP/1.1, read by llhttp, which calls the methods `on_...`.

    Attributes:
        is_last: the connection serves no other request.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._has_length = False
        self._head_bytes = 0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_is_complete = False
        self.is_complete = False
        self.is_last = False

    def feed(self, data: bytes) -> bytes:
        """Take in what has come, nothing at the end of the connection; return what it has of the body.

        Raises:
            httptools.HttpParserError: it is no HTTP.
            httpx2.RemoteProtocolError: the connection ended too early, or the head does not end.
        """
        if data:
            self._parser.feed_data(data)
            self._head_bytes += 0 if self.head_is_complete else len(data)
            if self._head_bytes > _HEAD_BYTES:
                raise httpx2.RemoteProtocolError("the head of the response is too long")
        elif self.head_is_complete and not self._has_length:
            self.is_complete = self.is_last = True
        else:
            raise httpx2.RemoteProtocolError("the server closed the connection within its response")
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def on_message_begin(self) -> None:
        """Take in that another message begins."""
        if self.is_complete:  # whatever comes behind the response, nobody asked for it
            self.is_last = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a field of the head, or of the trailer."""
        if not self.is_complete:
            self.headers.append((name, value))
            self._has_length = self._has_length or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """Take in that the head is there."""
        if not self.is_complete:
            self.status = self._parser.get_status_code()
            self.head_is_complete = self.status >= _FIRST_FINAL_STATUS

    def on_body(self, piece: bytes) -> None:
        """Take in a piece of the body."""
        if not self.is_complete:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Take in that all of it is there."""
        if not self.head_is_complete:  # a 100, before the response
            self.headers.clear()
        elif not self.is_complete:
            self.is_last = not self._parser.should_keep_alive()
            self.is_complete = True
