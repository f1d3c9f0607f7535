"""What operators and browsers see: health, documentation, errors, logs."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import openapi_spec_validator
import pytest

from bench.running import ROOT, RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.redis_server import redis_server
from tests.servers import free_port


def test_health_readiness_and_version(anonymous: Api, stores: dict[str, str]) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    ready = anonymous.get("/readyz")
    assert ready.status_code == 200
    body = ready.json()
    assert (body["ready"], body["draining"], body["language_model"]) == (True, False, "offline")
    assert ("mongo" in body["checks"]["store"].lower()) == bool(stores)
    assert re.fullmatch(r"\d+\.\d+\.\d+", anonymous.get("/version").json()["version"])


def test_trailing_slashes_are_optional(anonymous: Api, user: Api) -> None:
    for path in ("/healthz/", "/version/", "/assistants/list/", "/docs/", "/openapi.json/"):
        answer = user.get(path)
        assert answer.status_code == 200, path
        assert not answer.history
    assert anonymous.post("/auth/login/", json={"email": "x", "password": "y"}).status_code == 401


def test_metrics_need_their_token(anonymous: Api, user: Api) -> None:
    assert anonymous.get("/metrics").status_code == 401
    assert user.get("/metrics").status_code == 401
    answer = anonymous.get("/metrics", headers={"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"})
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "orquestra_http_requests_total" in answer.text
    anonymous.request("MADEUP", "/healthz")
    again = anonymous.get("/metrics", headers={"Authorization": f"bearer {SETTINGS['METRICS_TOKEN']}"})
    assert "MADEUP" not in again.text


def test_a_sane_request_id_is_kept(anonymous: Api) -> None:
    assert anonymous.get("/healthz", headers={"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"
    odd = anonymous.get("/healthz", headers={"X-Request-ID": "a b;" + "x" * 500}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{24}", odd)
    missing = anonymous.get("/nothing", headers={"X-Request-ID": "lost"})
    assert missing.json()["request_id"] == "lost"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing/here", None, 404),
        ("PATCH", "/auth/login", None, 405),
        ("POST", "/auth/login", b"{", 400),
        ("POST", "/auth/login", b'{"email": "' + b"x" * 2**21 + b'"}', 413),
        ("POST", "/auth/login", b"{}", 422),
        ("POST", "/auth/login", b"[" * 100_000, 400),
        ("POST", "/auth/login", b"[" * 40 + b"]" * 40, 400),
        ("POST", "/auth/login", b'{"email": ' + b"1" * 5_000 + b"}", 400),
        ("POST", "/auth/login", b'{"email": "\xff"}', 400),
        ("GET", "/auth/me", None, 401),
    ],
)
def test_every_failure_is_a_problem(anonymous: Api, method: str, path: str, body: bytes | None, status: int) -> None:
    answer = anonymous.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(problem)
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-ID"]


def test_a_body_of_another_kind_is_refused(anonymous: Api) -> None:
    answer = anonymous.post("/auth/login", content=b"a=b", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "json_expected")
    assert anonymous.post("/auth/login").status_code == 422


def test_what_waitress_refuses_is_a_problem_too(server: RunningServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for request in (
        b"GET / HTTP/1.1\r\nContent-Length: nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * (2**16 + 1),
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(request)
            received = b""
            while piece := connection.recv(65536):
                received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] in {400, 431}
        assert f"X-Request-ID: {json.loads(body)['request_id']}".lower().encode() in head.lower()


def test_the_documentation_is_served_by_us(anonymous: Api) -> None:
    page = anonymous.get("/docs").text
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert linked
    for link in linked:
        assert link.startswith("/"), link
        assert anonymous.get(link).status_code == 200
    home = anonymous.get("/")
    assert home.status_code == 200 and "/docs" in home.text


def test_openapi_describes_every_route(anonymous: Api) -> None:
    spec = anonymous.get("/openapi.json").json()
    openapi_spec_validator.validate(spec)
    upload = spec["paths"]["/documents/add"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    properties = spec["components"]["schemas"][upload["$ref"].rpartition("/")[2]]["properties"]
    assert set(properties) == {"file", "type", "assistant_id"}
    assert "application/problem+json" in spec["components"]["responses"]["DEFAULT_ERROR"]["content"]
    assert spec["openapi"].startswith("3.")
    assert spec["paths"]["/assistants/add"]["post"]["security"] == [{"accessToken": []}]
    assert {"apiKey": []} in spec["paths"]["/chats/enviarMensagemLLM"]["post"]["security"]
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            if method != "parameters":
                assert operation.get("summary"), (method, path)


def test_logs_are_json_without_secrets(server: RunningServer, user: Api) -> None:
    assistant = user.new_assistant()
    user.say(assistant, "hello")
    user.get(f"/documents/get/{assistant['api_key']}")
    user.get("/chats/get/+5511987654321")
    until = time.monotonic() + 30
    while "[redacted]" not in "".join(server.log) and time.monotonic() < until:
        time.sleep(0.02)
    lines = [line for line in server.log if line.startswith("{")]
    records = [json.loads(line) for line in lines]
    assert {"time", "level", "logger", "message", "request_id"} <= set(records[-1])
    everything = "".join(server.log)
    assert assistant["api_key"] not in everything
    assert str(user.headers["Authorization"]).removeprefix("Bearer ") not in everything
    assert SETTINGS["METRICS_TOKEN"] not in everything
    assert "[redacted]" in everything
    assert "+5511987654321" not in everything


def test_waitress_serve_works_too(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "waitress", f"--port={port}", "--host=127.0.0.1", "--call", "main:create_app"]
    env = {**os.environ, "DATA_DIR": str(tmp_path / "var"), "DOCUMENTS_URL": str(tmp_path / "documents")}
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx2.Client(transport=httpx2.HTTPTransport(retries=8)) as client:
                assert client.get(f"http://127.0.0.1:{port}/readyz").json()["ready"] is True
        finally:
            process.terminate()


def test_without_redis_messages_are_answered_and_tokens_refused(tmp_path: Path) -> None:
    with contextlib.ExitStack() as redis:
        settings = {**SETTINGS, "REDIS_URL": redis.enter_context(redis_server(tmp_path / "redis"))}
        with running_server(tmp_path, settings) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            assistant = api.new_assistant()
            redis.close()
            answer = api.say(assistant, "hello", message_id="m")
            assert (answer.status_code, answer.json()["status"]) == (200, "answered")
            assert api.say(assistant, "hello", message_id="m").json() == answer.json()
            refused = api.get("/assistants/list")
            assert (refused.status_code, refused.json()["code"]) == (503, "redis_unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
            assert api.get("/readyz").status_code == 503
            assert api.get("/healthz").status_code == 200
