"""The pages in a real browser, without any other host."""

import subprocess
from pathlib import Path

from bench.running import RunningServer
from tests.e2e.conftest import BROWSER


def test_the_documentation_works_in_a_browser(server: RunningServer, tmp_path: Path) -> None:
    assert BROWSER, "install chromium"
    options = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-sync --disable-background-networking "
        "--disable-component-update --virtual-time-budget=20000 --dump-dom"
    )
    command = [BROWSER, *options.split(), f"--user-data-dir={tmp_path}", f"{server.url}/docs"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    assert "/chats/enviarMensagemLLM" in page
    assert page.count("opblock-summary-path") >= 30
