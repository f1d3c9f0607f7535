"""OpenAI's files and vector stores, which hold copies of our documents for its file search.

Jobs use them and nobody waits, so what fails for a moment is sent again until the deadline. What makes a file or a
store is not, unless the provider has certainly not made it: its name tells later whether it has.
"""

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

import httpx2
import openai

from models.deadline import Deadline
from models.errors import NotFound, ProviderFailed
from models.hosting import FoundFile, HostedFile
from services.providers.http_calls import FOR_JOBS, Endpoint, Retrying, opened
from services.providers.http_sockets import Call
from services.providers.openai_absence import is_about_absence
from services.providers.openai_sending import Answering, opening

_Request = Callable[[httpx2.Timeout], AbstractContextManager[Answering]]
_PageRequest = Callable[[str | openai.Omit, httpx2.Timeout], AbstractContextManager[Answering]]

_ONLY_ONCE = replace(FOR_JOBS, twice_is_once=False)
_PURPOSE: Final = "assistants"
"""What OpenAI calls files that are there to be searched."""
_FILES_PER_PAGE = 1000
_STORES_PER_PAGE = 100
_UNKNOWN_ROUTE = frozenset({404, 405, 410, 501})


class _Absent(ProviderFailed):
    """Report that the provider does not know what was asked for, or no such route."""


class OpenAIFiles:
    """Implement `HostedFiles`.

    Args:
        client: from `openai_chat.build_client`; another one is not woken by a cancel.
    """

    def __init__(self, client: openai.OpenAI) -> None:
        client = client.with_options(max_retries=0)
        self._files = client.files.with_streaming_response
        self._stores = client.vector_stores.with_streaming_response
        self._attached = client.vector_stores.files.with_streaming_response
        self._endpoint = Endpoint(
            name="The model's endpoint",
            key_hint="Check OPENAI_API_KEY.",
            model_hint="Check OPENAI_BASE_URL.",
            url_hint="Check OPENAI_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def find_store(self, name: str, deadline: Deadline) -> str | None:
        """Return the id of the vector store of this name, of several the oldest."""

        def page(after: str | openai.Omit, timeout: httpx2.Timeout) -> AbstractContextManager[Answering]:
            return self._stores.list(after=after, limit=_STORES_PER_PAGE, order="asc", timeout=timeout)

        with self._routes_expected():
            for store in self._pages(page, deadline):
                if store.get("name") == name and store.get("status") != "expired":
                    return str(store["id"])
        return None

    def create_store(self, name: str, deadline: Deadline) -> str:
        """Return the id of a new vector store."""
        with self._routes_expected():
            made = self._ask(lambda timeout: self._stores.create(name=name, timeout=timeout), deadline, _ONLY_ONCE)
        return self._id(made)

    def delete_store(self, store_id: str, deadline: Deadline) -> None:
        """Delete a vector store; that it is not there is as good."""
        with contextlib.suppress(_Absent):
            self._ask(lambda timeout: self._stores.delete(store_id, timeout=timeout), deadline)

    def upload(self, filename: str, content: bytes, deadline: Deadline) -> str:
        """Return the id of a new file of Markdown."""
        part = (filename, content, "text/markdown")
        with self._routes_expected():
            made = self._ask(
                lambda timeout: self._files.create(file=part, purpose=_PURPOSE, timeout=timeout), deadline, _ONLY_ONCE
            )
        return self._id(made)

    def list_files(self, deadline: Deadline) -> Iterator[FoundFile]:
        """Yield the files of the account that are there to be searched, those of others among them."""

        def page(after: str | openai.Omit, timeout: httpx2.Timeout) -> AbstractContextManager[Answering]:
            return self._files.list(after=after, limit=_FILES_PER_PAGE, purpose=_PURPOSE, timeout=timeout)

        with self._routes_expected():
            for file in self._pages(page, deadline):
                yield FoundFile(str(file["id"]), str(file.get("filename") or ""))

    def delete_file(self, file_id: str, deadline: Deadline) -> None:
        """Delete a file; that it is not there is as good."""
        with contextlib.suppress(_Absent):
            self._ask(lambda timeout: self._files.delete(file_id, timeout=timeout), deadline)

    def attach(self, store_id: str, file: HostedFile, deadline: Deadline) -> FoundFile:
        """Put a file into a vector store, where it is processed from now on; one that is in it stays as it is.

        Raises:
            NotFound: there is no such store, or no such file.
        """
        present = self.status(store_id, file.file_id, deadline)
        if present is not None:
            return present
        attributes: dict[str, str | float | bool] = {"number": file.number, "document": file.document_id}
        with self._presence_expected():
            made = self._ask(
                lambda timeout: self._attached.create(
                    store_id, file_id=file.file_id, attributes=attributes, timeout=timeout
                ),
                deadline,
            )
        return self._found(made)

    def attached(self, store_id: str, deadline: Deadline) -> Iterator[FoundFile]:
        """Yield the files of a vector store.

        Raises:
            NotFound: there is no such store.
        """

        def page(after: str | openai.Omit, timeout: httpx2.Timeout) -> AbstractContextManager[Answering]:
            return self._attached.list(store_id, after=after, limit=_STORES_PER_PAGE, timeout=timeout)

        with self._presence_expected():
            for file in self._pages(page, deadline):
                yield self._found(file)

    def status(self, store_id: str, file_id: str, deadline: Deadline) -> FoundFile | None:
        """Return a file as it is in a vector store; None if it is not in it."""
        with contextlib.suppress(_Absent):
            return self._found(
                self._ask(
                    lambda timeout: self._attached.retrieve(file_id, vector_store_id=store_id, timeout=timeout),
                    deadline,
                )
            )
        return None

    def detach(self, store_id: str, file_id: str, deadline: Deadline) -> None:
        """Take a file out of a vector store; that it is not in it is as good."""
        with contextlib.suppress(_Absent):
            self._ask(
                lambda timeout: self._attached.delete(file_id, vector_store_id=store_id, timeout=timeout), deadline
            )

    def _pages(self, page: _PageRequest, deadline: Deadline) -> Iterator[dict[str, Any]]:
        """Yield the objects of a list to its end."""
        after: str | openai.Omit = openai.omit
        while True:
            held = self._ask(functools.partial(page, after), deadline)
            try:
                found = [dict(one) for one in held["data"]]
                after = str(found[-1]["id"]) if found else openai.omit
            except (KeyError, TypeError, ValueError) as error:
                raise self._unreadable(held) from error
            yield from found
            if not found or not held.get("has_more"):
                return

    def _ask(self, request: _Request, deadline: Deadline, retrying: Retrying = FOR_JOBS) -> dict[str, Any]:
        """Return the object that a request of the SDK's brings.

        Raises:
            _Absent: the provider does not know it.
            ProviderFailed: as `open_response`; also code `hosting_unsupported`.
        """
        call = Call(deadline)

        def send() -> httpx2.Response:
            response = opening(request(call.timeout()), self._endpoint)
            response.read()  # a body that breaks off is a lost connection like others
            self._check(response)
            return response

        with opened(send, call, self._endpoint, retrying) as response:
            text = response.text
        try:
            return dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise self._unreadable(text) from error

    def _check(self, response: httpx2.Response) -> None:
        """Return a response that does not say that something is absent."""
        if is_about_absence(response):
            raise _Absent(f"{self._endpoint.name} does not know that.")
        is_page = response.is_success and "text/html" in response.headers.get("content-type", "")
        if response.status_code in _UNKNOWN_ROUTE or is_page:
            self._endpoint.log(logging.ERROR, "no files and vector stores", response.text)
            raise self._unsupported()

    @contextlib.contextmanager
    def _routes_expected(self) -> Iterator[None]:
        """Take what is absent for a route: the request names nothing that could be."""
        try:
            yield
        except _Absent as error:
            raise self._unsupported() from error

    @contextlib.contextmanager
    def _presence_expected(self) -> Iterator[None]:
        """Take what is absent for a vector store or a file that somebody else has deleted."""
        try:
            yield
        except _Absent as error:
            raise NotFound("The provider does not have this vector store or file: synchronize again.") from error

    def _found(self, held: dict[str, Any]) -> FoundFile:
        attributes = held.get("attributes") or {}
        if held.get("last_error"):
            self._endpoint.log(logging.ERROR, f"{held.get('id')} could not be processed", held["last_error"])
        number = attributes.get("number")
        number = int(number) if isinstance(number, int | float) else 0
        return FoundFile(self._id(held), number=number, status=str(held.get("status") or ""))

    def _id(self, held: dict[str, Any]) -> str:
        if not held.get("id"):
            raise self._unreadable(held)
        return str(held["id"])

    def _unreadable(self, held: object) -> ProviderFailed:
        self._endpoint.log(logging.ERROR, "no file or vector store", held)
        return self._endpoint.unreadable()

    def _unsupported(self) -> ProviderFailed:
        return ProviderFailed(
            f"{self._endpoint.name} holds no documents: it knows no files and vector stores. "
            "Choose the provider openai_chat for its assistants, or check OPENAI_BASE_URL.",
            code="hosting_unsupported",
        )
