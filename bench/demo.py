"""`make demo`: a fresh server, the sample documents, three questions, and their answers with sources.

It uses the same HTTP API as everybody: register, create an assistant, upload, ask as a channel would.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx2

from bench.running import ROOT, running_server

SAMPLE = ROOT / "assets" / "samples" / "policies"
QUESTIONS = (
    "How many vacation days do I get per year?",
    "Em quantos períodos posso dividir as férias?",
    "密码多久需要更换一次？",
)


def main() -> int:
    """Run the demo; return 0 if every answer has a source."""
    with tempfile.TemporaryDirectory(prefix="orquestra-demo-") as folder, running_server(Path(folder)) as server:
        sys.stdout.write(f"A server is running at {server.url}\n")
        with httpx2.Client(base_url=server.url, timeout=60) as client:
            key = prepare(client)
            sourced = [ask(client, key, number, question) for number, question in enumerate(QUESTIONS)]
    sys.stdout.write("\nThe server has stopped.\n")
    return 0 if all(sourced) else 1


def prepare(client: httpx2.Client, say: Callable[[str], object] = sys.stdout.write) -> str:
    """Register the admin, create an assistant with the sample documents, and return its API key."""
    admin = {"name": "Demo", "email": "demo@example.com", "password": "demo-password"}
    client.post("/auth/register", json=admin).raise_for_status()
    login = client.post("/auth/login", json={"email": admin["email"], "password": admin["password"]})
    client.headers["Authorization"] = f"Bearer {login.raise_for_status().json()['token']}"
    assistant = client.post("/assistants/add", json={"name": "Policies"}).raise_for_status().json()
    files = sorted(path for path in SAMPLE.iterdir() if path.suffix in {".md", ".txt", ".html"})
    for path in files:
        form = {"assistant_id": assistant["_id"], "type": "prompt" if path.name == "prompt.txt" else "rag"}
        answer = client.post("/documents/add?wait=true", data=form, files={"file": (path.name, path.read_bytes())})
        document = answer.raise_for_status().json()
        say(f"  uploaded {path.name}: {document['status']}, {document['passages']} passages\n")
    return str(assistant["api_key"])


def ask(client: httpx2.Client, key: str, number: int, question: str) -> bool:
    """Ask through the channel endpoint, print the answer with its sources, and tell whether it has any."""
    message = {
        "id": "+5511999990000",
        "message_service": "whatsapp",
        "message": question,
        "message_id": f"demo-{number}",
    }
    sent = client.post("/chats/enviarMensagemLLM", json=message, headers={"X-API-Key": key, "Authorization": ""})
    chat = sent.raise_for_status().json()
    sys.stdout.write(f"\n> {question}\n{chat['response']}\n")
    for citation in chat["citations"]:
        quote = " ".join(citation["passage"].split())
        sys.stdout.write(f"  [{citation['filename']}, {citation['start']}-{citation['end']}] {quote[:90]}\n")
    return bool(chat["citations"])


if __name__ == "__main__":
    sys.exit(main())
