"""The documentation tells the truth: README and .env.example against the app and its settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from main import create_app
from services.registry import Services
from settings import Settings, setting_rows

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Give an app on embedded stores."""
    folder = tmp_path_factory.mktemp("docs")
    made = create_app(Settings.from_env({"DATA_DIR": str(folder / "var"), "DOCUMENTS_URL": str(folder / "documents")}))
    yield made
    services: Services = made.extensions["orquestra"]
    services.close()


def section(title: str) -> str:
    """Return a section of the README."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_endpoint_table_is_the_app(app: Flask) -> None:
    documented = set(re.findall(r"^\| (GET|POST|PUT|DELETE) \| `([^`]+)` \|", section("Endpoints"), re.MULTILINE))
    served = {
        (method, re.sub(r"<\w+:", "<", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert documented == served


def test_the_settings_table_is_the_settings() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", section("Settings"), re.MULTILINE)
    assert rows == setting_rows()


def test_the_example_of_env_lists_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text()
    assert re.findall(r"^# ([A-Z_]+)=(.*)$", lines, re.MULTILINE) == [
        (name, default) for name, default, _ in setting_rows()
    ]


def test_every_file_that_the_documentation_names_is_there() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for name in re.findall(
            r"(?:docs|tests|services|routes|bench|repositories)/[\w/]+\.(?:md|py)", page.read_text()
        ):
            assert (ROOT / name).is_file(), f"{page.name} names {name}"


def test_every_dependency_is_explained() -> None:
    explained = (ROOT / "docs" / "dependencies.md").read_text().lower()
    for file in ("requirements.txt", "requirements-offline.txt", "requirements-dev.txt"):
        for name in re.findall(r"^([A-Za-z0-9-]+)", (ROOT / file).read_text(), re.MULTILINE):
            assert name.lower() in explained, name
