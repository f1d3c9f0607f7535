"""The admin of a chaos run, who makes the assistants and hands conversations over to humans."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence

import httpx2

from bench.chaos.plan import Habit
from bench.chaos.receiver import Receiver

DEBOUNCE_SECONDS = 0.8
_ADMIN = {"name": "Ada", "email": "ada@example.com", "password": "ada-password"}
_PAUSE_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0
_CHANGES: Mapping[Habit, Mapping[str, object]] = {
    Habit.BURSTS: {"debounce_seconds": DEBOUNCE_SECONDS},
    Habit.CALLBACKS: {"callback_hosts": ["127.0.0.1"]},
}


class Manager:
    """Ask one server after the other until one does what is wanted."""

    def __init__(self, client: httpx2.AsyncClient, urls: Sequence[str]) -> None:
        self._client = client
        self._urls = itertools.cycle(urls)
        self._token = ""

    async def prepare(self, receiver: Receiver) -> dict[Habit, str]:
        """Register, make an assistant for each habit, and return their API keys."""
        await self._ask("POST", "/auth/register", _ADMIN)
        keys: dict[Habit, str] = {}
        for habit in Habit:
            made = await self._ask("POST", "/assistants/add", {"name": habit.value})
            changes = {"history_turns": 200, **_CHANGES.get(habit, {})}
            assistant = await self._ask("PUT", f"/assistants/update/{made['_id']}", changes)
            keys[habit] = str(assistant["api_key"])
            receiver.secrets.append(str(assistant["webhook_secret"]))
        return keys

    async def switch(self, channel: str, active: bool) -> None:
        """Stop or resume a conversation's being answered, however long that takes."""
        await self._ask("PUT", f"/chats/{'ativar' if active else 'desativar'}/{channel}", {})

    async def _ask(self, method: str, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        while True:
            url = next(self._urls)
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
                    answer = await self._client.request(method, url + path, json=body, headers=headers)
                    if answer.is_success:
                        found: Mapping[str, object] = answer.json()
                        return found
                    if answer.status_code == 401:
                        await self._log_in(url)
                        continue
                    if answer.is_client_error:
                        raise RuntimeError(f"{method} {path}: {answer.text}")
            except (TimeoutError, httpx2.TransportError):
                pass
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _log_in(self, url: str) -> None:
        answer = await self._client.post(
            f"{url}/auth/login", json={name: _ADMIN[name] for name in ("email", "password")}
        )
        if answer.is_success:
            self._token = str(answer.json()["token"])
