"""Arrows point one way: routes -> services -> models, repositories -> models; only the root knows everybody."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROOT_MODULES = {
    "main",
    "commands",
    "evaluation_commands",
    "wiring",
    "stores",
    "queues",
    "settings",
    "serving",
    "supervisor",
    "logs",
}
OURS = {*ROOT_MODULES, "routes", "services", "repositories", "models", "tests", "bench"}
ALLOWED = {
    "models": {"models"},
    "services": {"services", "models"},
    "repositories": {"repositories", "models"},
    "routes": {"routes", "services", "models"},
}
# `services/` outside `providers/` and `knowledge/` are use cases: no web framework, no driver, no SDK.
FOREIGN_TO_USE_CASES = {"flask", "marshmallow", "pymongo", "redis", "sqlite3", "openai", "httpx2", "boto3"}


def imported(file: Path) -> set[str]:
    """Return the top-level names that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_a_layer_imports_only_what_lies_below(layer: str) -> None:
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    wrong = {str(file.relative_to(ROOT)): (imported(file) & OURS) - ALLOWED[layer] for file in files}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_use_cases_know_no_framework_and_no_driver() -> None:
    apart = {"providers", "knowledge"}
    files = [file for file in (ROOT / "services").rglob("*.py") if file.relative_to(ROOT).parts[1] not in apart]
    wrong = {str(file): imported(file) & FOREIGN_TO_USE_CASES for file in files}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_repositories_know_no_web_framework() -> None:
    for file in (ROOT / "repositories").rglob("*.py"):
        assert not imported(file) & {"flask", "marshmallow"}, file


def test_the_environment_is_read_in_main_only() -> None:
    product = [ROOT / f"{name}.py" for name in ROOT_MODULES - {"main", "wiring", "settings"}]
    for folder in ("wiring", "settings", *ALLOWED):
        product += (ROOT / folder).rglob("*.py")
    assert [file.name for file in product if "os.environ" in file.read_text() or "getenv" in file.read_text()] == []
