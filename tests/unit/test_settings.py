"""Settings: defaults, faults all at once, aliases of the reference systems."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from settings import Settings, SettingsError


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({"PORT": "", "OTHER": "x"})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.threads) == ("127.0.0.1", 8080, 128)
    assert settings.effective_language_model == "offline"


def test_spaces_around_a_value_count_in_prefixes_only(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        'EMBEDDINGS_PASSAGE_PREFIX="passage: "\nEMBEDDINGS_QUERY_PREFIX="Instruct: find\\nQuery:"\nOPENAI_MODEL=" m "\n'
    )
    read = {name: value or "" for name, value in dotenv_values(file).items()}
    settings = Settings.from_env(read)
    assert (settings.embeddings_passage_prefix, settings.openai_model) == ("passage: ", "m")
    assert settings.embeddings_query_prefix == "Instruct: find\nQuery:"
    assert Settings.from_env({"EMBEDDINGS_QUERY_PREFIX": "  "}) == Settings()


def test_every_fault_is_listed_at_once() -> None:
    wrong = {
        "PORT": "many",
        "THREADS": "0",
        "REGISTRATION": "perhaps",
        "MONGODB_URI": "http://x",
        "JWT_SECRET_KEY": "short",
        "DOCUMENTS_URL": "s3://",
        "LANGUAGE_MODEL": "core",
    }
    with pytest.raises(SettingsError) as error:
        Settings.from_env(wrong)
    assert [fault.split()[0] for fault in error.value.faults] == [
        "PORT", "THREADS", "DOCUMENTS_URL", "MONGODB_URI", "JWT_SECRET_KEY", "REGISTRATION", "CORE_API_BASE_URL",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("env", "provider"),
    [
        ({}, "offline"),
        ({"OPENAI_API_KEY": "k"}, "openai_chat"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1/v1"}, "openai_chat"),
        ({"OPENAI_API_KEY": "k", "LANGUAGE_MODEL": "offline"}, "offline"),
        ({"OPENAI_API_KEY": "k", "LANGUAGE_MODEL": "openai"}, "openai"),
        ({"LANGUAGE_MODEL": "core", "CORE_API_BASE_URL": "http://127.0.0.1"}, "core"),
    ],
)
def test_the_provider_is_chosen_by_configuration(env: dict[str, str], provider: str) -> None:
    assert Settings.from_env(env).effective_language_model == provider


@pytest.mark.parametrize("languages", ["pt-BR", "pt-BR,english", "en-US,pt-BR,en-GB"])
def test_languages_to_listen_for_are_two_or_more_different_ones(languages: str) -> None:
    with pytest.raises(SettingsError, match="TRANSCRIPTION_LANGUAGES must"):
        Settings.from_env({"TRANSCRIPTION_LANGUAGES": languages})


@pytest.mark.parametrize("provider", ["openai", "openai_chat"])
def test_openai_needs_a_key_or_an_address(provider: str) -> None:
    with pytest.raises(SettingsError, match=f"LANGUAGE_MODEL={provider}$"):
        Settings.from_env({"LANGUAGE_MODEL": provider})


def test_a_token_of_aws_belongs_to_a_key() -> None:
    with pytest.raises(SettingsError, match="AWS_SESSION_TOKEN belongs"):
        Settings.from_env({"AWS_SESSION_TOKEN": "t"})
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    assert Settings.from_env({**keys, "AWS_SESSION_TOKEN": "t"}).aws_session_token == "t"


def test_the_reference_systems_names_are_understood() -> None:
    settings = Settings.from_env(
        {
            "DB_URL": "mongodb://db",
            "SECRET": "s" * 32,
            "REDIS_ENDPOINT": "cache",
            "REDIS_PORT": "6380",
            "REDIS_PASSWORD": "p@ss",
            "AZURE_OPENAI_API_KEY": "key",
            "AZURE_OPENAI_ENDPOINT": "wss://r.openai.azure.com/",
            "AZURE_OPENAI_DEPLOYMENT": "gpt",
        }
    )
    assert settings.mongodb_uri == "mongodb://db"
    assert settings.jwt_secret_key == "s" * 32
    assert settings.redis_url == "redis://:p%40ss@cache:6380/0"
    assert settings.openai_base_url == "https://r.openai.azure.com/openai/v1/"
    assert (settings.openai_api_key, settings.openai_model) == ("key", "gpt")
    ours = Settings.from_env({"DB_URL": "mongodb://theirs", "MONGODB_URI": "mongodb://ours"})
    assert ours.mongodb_uri == "mongodb://ours"
    ali = Settings.from_env({"ALI_API_KEY": "a", "ALI_BASE_URL": "https://x"})
    assert (ali.openai_api_key, ali.openai_base_url) == ("a", "https://x")


def test_a_key_never_goes_to_another_vendors_address() -> None:
    mixed = Settings.from_env({"OPENAI_API_KEY": "ours", "ALI_BASE_URL": "https://x", "ALI_API_KEY": "theirs"})
    assert (mixed.openai_api_key, mixed.openai_base_url) == ("ours", "")
    for key, url in (("ALI_API_KEY", "ALI_BASE_URL"), ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")):
        with pytest.raises(SettingsError) as error:
            Settings.from_env({key: "k"})
        assert error.value.faults == [f"{key} needs {url} beside it"]


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_env({"OPENAI_API_KEY": "sk-very-secret", "JWT_SECRET_KEY": "j" * 40})
    assert "sk-very-secret" not in repr(settings) and "jjjj" not in repr(settings)
    assert settings.secrets() == ["j" * 40, "sk-very-secret"]
