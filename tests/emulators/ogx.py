"""Start `ogx` (the former Llama Stack), which keeps what OpenAI does, as a child process.

It is an independent witness of what a conversation holds after which requests, and of files, vector stores and searches
in them; its own models are another emulator's. It needs Python 3.12 and some 400 MiB, so it has an environment of its
own outside of the project, in `OGX_VENV` (default `~/.cache/orquestra/ogx`), which `python -m tests.emulators.ogx`
makes. Without it the tests are skipped.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.servers import free_port, missing

_PACKAGES = ("ogx==1.5.0", "faiss-cpu", "pypdf", "chardet")
_TOKENIZER = "llama-index-core==0.14.25"
"""Has the tokenizer's file in it, which ogx would fetch from the network; nothing else of it is used."""
_TOKENIZER_FOLDER = "lib/python3.*/site-packages/llama_index/core/_static/tiktoken_cache"
_ENVIRONMENT = Path(os.environ.get("OGX_VENV") or Path.home() / ".cache" / "orquestra" / "ogx")
_START_SECONDS = 60.0
_MODEL = "wire"
_EMBEDDING_MODEL = "embed"
_DIMENSIONS = 1536
"""What aimock gives for a model whose name it does not know."""


@dataclass(frozen=True)
class OgxServer:
    """A running server.

    Attributes:
        model: the name of its one model.
    """

    url: str
    model: str

    @property
    def base_url(self) -> str:
        """Return the address for `openai.OpenAI(base_url=...)`."""
        return f"{self.url}/v1"

    def items(self, conversation: str) -> list[tuple[str, str]]:
        """Return (role, text) of what a conversation holds, oldest first."""
        answer = httpx2.get(f"{self.base_url}/conversations/{conversation}/items", params={"order": "asc"}, timeout=10)
        answer.raise_for_status()
        return [(item["role"], _text(item["content"])) for item in answer.json()["data"]]

    def search(self, store_id: str, query: str, filters: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the attributes of what a vector store finds, best first."""
        body = {"query": query, "filters": filters, "max_num_results": 50}
        answer = httpx2.post(f"{self.base_url}/vector_stores/{store_id}/search", json=body, timeout=10)
        answer.raise_for_status()
        return [found["attributes"] for found in answer.json()["data"]]

    def has(self, conversation: str) -> bool:
        """Tell whether it knows a conversation."""
        return httpx2.get(f"{self.base_url}/conversations/{conversation}", timeout=10).is_success


@contextlib.contextmanager
def ogx(model_base_url: str) -> Iterator[OgxServer]:
    """Run a server on a free port of the loopback address, whose models answer at that address."""
    program, tokenizer = _ENVIRONMENT / "bin" / "ogx", _tokenizer()
    if not program.is_file() or not tokenizer:
        missing("ogx is not installed: run `.venv/bin/python -m tests.emulators.ogx`")
    with tempfile.TemporaryDirectory(prefix="ogx") as folder:
        port, log = free_port(), Path(folder, "log")
        config = Path(folder, "config.yaml")
        config.write_text(json.dumps(_config(Path(folder), port, model_base_url)), encoding="utf-8")  # JSON is YAML
        # its usual log draws each refusal's stack with all that is in it, and it answers nobody for the 5 s this takes
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(program), "run", str(config), "--insecure"], stdout=output, stderr=output, cwd=folder,
                env={"PATH": os.defpath, "HOME": folder, "TIKTOKEN_CACHE_DIR": tokenizer, "OGX_LOG_FORMAT": "json"},
                start_new_session=True,
            )  # fmt: skip
        try:
            server = OgxServer(f"http://127.0.0.1:{port}", f"openai/{_MODEL}")
            _wait(process, server, log)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its workers would outlive it
            process.wait()


def install() -> None:
    """Make the environment, as far as it is not there."""
    pip = [str(_ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    if not (_ENVIRONMENT / "bin" / "ogx").is_file():
        subprocess.run([_python(), "-m", "venv", str(_ENVIRONMENT)], check=True)
        subprocess.run([*pip, *_PACKAGES], check=True)
    if not _tokenizer():
        subprocess.run([*pip, "--no-deps", _TOKENIZER], check=True)


def _tokenizer() -> str:
    """Return the folder of the tokenizer's file; "" if it is not installed."""
    return next(map(str, _ENVIRONMENT.glob(_TOKENIZER_FOLDER)), "")


def _python() -> str:
    """Return a Python that is new enough, of the machine or of pyenv."""
    found = [shutil.which(f"python3.{minor}") for minor in (12, 13)]
    found += sorted(map(str, Path.home().glob(".pyenv/versions/3.1[23].*/bin/python")))
    for python in filter(None, found):
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:  # pyenv's shims may lead nowhere
            return python
    raise SystemExit("ogx needs Python 3.12 or 3.13, and there is none.")


def _config(folder: Path, port: int, model_base_url: str) -> dict[str, Any]:
    def provider(name: str, kind: str, **config: Any) -> list[dict[str, Any]]:
        return [{"provider_id": name, "provider_type": kind, "config": config}]

    def table(name: str) -> dict[str, str]:
        return {"table_name": name, "backend": "sql"}

    def model(name: str, kind: str, **metadata: Any) -> dict[str, Any]:
        place = {"model_id": name, "provider_id": "openai", "provider_model_id": name}
        return {**place, "model_type": kind, "metadata": metadata}

    return {
        "version": 2,
        "distro_name": "orquestra-tests",
        "apis": ["file_processors", "files", "inference", "responses", "tool_runtime", "vector_io"],
        "providers": {
            "inference": provider("openai", "remote::openai", api_key="none", base_url=model_base_url),
            "vector_io": provider("faiss", "inline::faiss", persistence={"namespace": "faiss", "backend": "kv"}),
            "file_processors": provider("text", "inline::pypdf"),
            "files": provider(
                "files", "inline::localfs", storage_dir=str(folder / "files"), metadata_store=table("files")
            ),
            "tool_runtime": provider("file-search", "inline::file-search"),
            "responses": provider(
                "builtin",
                "inline::builtin",
                persistence={"responses": table("responses")},
                compaction_config={"model_tokenizer_mappings": {}},  # more tokenizers that it would fetch
            ),
        },
        "storage": {
            "backends": {
                "kv": {"type": "kv_sqlite", "db_path": str(folder / "kv.db")},
                "sql": {"type": "sql_sqlite", "db_path": str(folder / "sql.db")},
            },
            "stores": {
                "metadata": {"namespace": "registry", "backend": "kv"},
                "inference": table("inference"),
                "conversations": table("conversations"),
                "prompts": table("prompts"),
                "connectors": table("connectors"),
            },
        },
        "vector_stores": {
            "default_provider_id": "faiss",
            "default_embedding_model": {"provider_id": "openai", "model_id": _EMBEDDING_MODEL},
        },
        "registered_resources": {
            "models": [model(_MODEL, "llm"), model(_EMBEDDING_MODEL, "embedding", embedding_dimension=_DIMENSIONS)]
        },
        "server": {"host": "127.0.0.1", "port": port},
    }


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _wait(process: subprocess.Popen[bytes], server: OgxServer, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(f"{server.base_url}/health", timeout=1).is_success:
                return
        time.sleep(0.2)
    raise RuntimeError(f"ogx did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")


if __name__ == "__main__":
    install()
