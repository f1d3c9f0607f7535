"""A LiteLLM proxy with one worker, as its own documentation runs it, for `bench.doors` to measure beside ours.

It is installed from PyPI, the newest version that can be, into `~/.cache/orquestra/litellm`; `BENCH_LITELLM` names
another requirement. It has no database, no telemetry, fetches nothing, writes no log of requests, and listens on
loopback. A master key is set: it checks keys as we do.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

KEY = "sk-bench-0123456789"
_FOLDER = Path.home() / ".cache" / "orquestra" / "litellm"
_START_SECONDS = 120.0
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "DISABLE_ADMIN_UI": "True",
    "NO_DOCS": "True",
    "LITELLM_MASTER_KEY": KEY,
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Proxy:
    """A running proxy.

    Attributes:
        folder: its working directory.
    """

    base_url: str
    folder: Path
    version: str


def install() -> Path:
    """Return the program, installed if it is not there."""
    program = _FOLDER / "bin" / "litellm"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_FOLDER)], check=True)
        wanted = os.environ.get("BENCH_LITELLM", "litellm[proxy]")
        subprocess.run([str(_FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", wanted], check=True)
    return program


@contextlib.contextmanager
def litellm_proxy(upstream: str, models: Sequence[str]) -> Iterator[Proxy]:
    """Run a proxy in front of an endpoint with these models and end it afterwards."""
    program, port = install(), _free_port()
    with tempfile.TemporaryDirectory(prefix="bench-litellm-") as folder:
        config, log = Path(folder, "config.json"), Path(folder, "log")
        config.write_text(json.dumps(_config(upstream, models)))  # JSON is YAML
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
        place = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        command = [str(program), "--config", str(config), "--telemetry", "False", *place]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env={**kept, **_ENVIRONMENT, "HOME": folder}, stdout=output, stderr=output
            )
        try:
            base_url = f"http://127.0.0.1:{port}/v1"
            _wait(process, base_url, log)
            yield Proxy(base_url, Path(folder), _version())
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _config(upstream: str, models: Sequence[str]) -> dict[str, object]:
    there = {"api_base": upstream, "api_key": "none"}
    return {
        "model_list": [{"model_name": one, "litellm_params": {"model": f"openai/{one}", **there}} for one in models],
        "litellm_settings": {"set_verbose": False, "request_timeout": 120, "num_retries": 0},
        "general_settings": {"disable_spend_logs": True, "disable_error_logs": True, "background_health_checks": False},
    }


def _wait(process: subprocess.Popen[bytes], base_url: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(f"{base_url}/models", headers={"Authorization": f"Bearer {KEY}"}, timeout=5).is_success:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the proxy did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _version() -> str:
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    found = subprocess.run([str(_FOLDER / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.strip()
