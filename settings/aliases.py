"""The names that settings had in the systems that Orquestra replaces."""

from collections.abc import Mapping
from urllib.parse import quote


def aliases(env: Mapping[str, str]) -> dict[str, str]:
    """Translate the reference systems' names; ours win where both are given."""
    found = {
        "MONGODB_URI": env.get("DB_URL"),
        "JWT_SECRET_KEY": env.get("SECRET"),
        "REDIS_URL": _redis_url(env, "REDIS_{}"),
        "REDIS_FILES_URL": _redis_url(env, "REDIS_{}_FILES_DB") or _redis_url(env, "REDIS_FILES_{}"),
        **_model_endpoint(env),
    }
    return {name: value for name, value in found.items() if value}


def _model_endpoint(env: Mapping[str, str]) -> dict[str, str | None]:
    """Return one vendor's key, address and model together, never one vendor's key with another's address."""
    if any(name in env for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL")):
        return {}
    if "AZURE_OPENAI_ENDPOINT" in env:
        return {
            "OPENAI_API_KEY": env.get("AZURE_OPENAI_API_KEY"),
            "OPENAI_BASE_URL": _azure_base_url(env),
            "OPENAI_MODEL": env.get("AZURE_OPENAI_DEPLOYMENT"),
        }
    if "ALI_BASE_URL" in env:
        return {"OPENAI_API_KEY": env.get("ALI_API_KEY"), "OPENAI_BASE_URL": env["ALI_BASE_URL"]}
    return {}


def _redis_url(env: Mapping[str, str], names: str) -> str | None:
    """Return the address in three variables, which are named like this with ENDPOINT, PORT and PASSWORD in them."""
    host, port, password = (env.get(names.format(part)) for part in ("ENDPOINT", "PORT", "PASSWORD"))
    if host is None:
        return None
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{host}:{port or '6379'}/0"


def _azure_base_url(env: Mapping[str, str]) -> str | None:
    """Return Azure's v1 endpoint, which speaks plain OpenAI; system 002 gave it as wss://."""
    endpoint = env.get("AZURE_OPENAI_ENDPOINT")
    if endpoint is None:
        return None
    return endpoint.replace("wss://", "https://", 1).rstrip("/") + "/openai/v1/"
