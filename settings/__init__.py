"""Settings, read once from a mapping: the environment, after `.env` was loaded into it."""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal, get_args

from settings.aliases import aliases
from settings.values import documents, folder, integer, languages, networks, one_of, origins, seconds, secret, url

LANGUAGE_MODELS = ("auto", "openai_chat", "openai", "core", "offline")
SPEECH_PROVIDERS = ("auto", "aws", "openai", "offline")
PollyEngine = Literal["standard", "neural", "long-form", "generative"]


class SettingsError(Exception):
    """List every fault of the settings at once."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("Settings are wrong:\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.faults = faults


def _setting(
    default: Any, parse: Callable[[str], Any], meaning: str, *, secret: bool = False, verbatim: bool = False
) -> Any:
    """Describe a setting; of a verbatim one the spaces around the value count."""
    described = {"default": default, "parse": parse, "meaning": meaning, "verbatim": verbatim}
    return field(default=parse(default), repr=not secret, metadata=described)


@dataclass(frozen=True)
class Settings:
    """Everything an operator can choose. A field's name in upper case is its environment variable."""

    host: str = _setting("127.0.0.1", str, "address to listen on")
    port: int = _setting("8080", integer(0, 65535), "port to listen on; 0 takes a free one")
    workers: int = _setting("1", integer(1, 64), "server processes on the same port")
    threads: int = _setting("128", integer(1, 1000), "requests and streams served at the same time")
    data_dir: Path = _setting("var", folder, "embedded stores, local indexes and generated secrets")
    documents_url: str = _setting(
        "documents", documents, "where documents' files lie: a folder, or `s3://bucket/prefix`"
    )
    document_versions: int = _setting(
        "10", integer(1, 1000), "contents of a document that are kept, the current one among them"
    )
    job_threads: int = _setting(
        "2", integer(0, 64), "documents indexed at the same time in this process; 0: jobs only in `worker` processes"
    )
    callback_threads: int = _setting(
        "8", integer(1, 256), "messages with a `callback_url` answered, and callbacks sent, at the same time"
    )
    callback_networks: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "", networks, "private networks that callbacks may go to, `10.1.0.0/16,127.0.0.0/8`; empty: none"
    )
    mcp_servers_file: str = _setting(
        "", str, "JSON file of MCP servers that assistants may use by name, programs among them; empty: samples only"
    )
    mcp_networks: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "", networks, "private networks in which MCP servers may be that assistants name by address; empty: none"
    )
    mongodb_uri: str = _setting(
        "", url("mongodb", "mongodb+srv"), "MongoDB; empty: embedded SQLite in DATA_DIR", secret=True
    )
    mongodb_database: str = _setting("orquestra", str, "name of the database in MongoDB")
    redis_url: str = _setting(
        "", url("redis", "rediss", "unix"), "Redis or Valkey; empty: embedded Valkey in DATA_DIR", secret=True
    )
    redis_files_url: str = _setting(
        "", url("redis", "rediss", "unix"), "Redis for what providers hold of documents; empty: REDIS_URL", secret=True
    )
    jwt_secret_key: str = _setting(
        "",
        secret,
        "signs tokens and encrypts displayed API keys and tools' headers; empty: generated once into DATA_DIR",
        secret=True,
    )
    registration: str = _setting(
        "closed", one_of("closed", "open"), "`open` lets anybody register; the first account is always possible"
    )
    access_token_minutes: int = _setting("15", integer(1, 1440), "how long an access token lives")
    refresh_token_days: int = _setting("7", integer(1, 365), "how long a refresh token lives")
    logins_per_minute: int = _setting(
        "10", integer(0, 100_000), "logins and registrations per address and per email; 0: no limit"
    )
    proxy_hops: int = _setting("0", integer(0, 10), "reverse proxies in front whose X-Forwarded-For is to be believed")
    language_model: str = _setting(
        "auto",
        one_of(*LANGUAGE_MODELS),
        "`openai_chat`, `openai` (keeps conversations at the provider), `core`, `offline` or `auto`: openai_chat when "
        "a key or base URL is set, else offline",
    )
    openai_api_key: str = _setting("", str, "key of the OpenAI-compatible endpoint", secret=True)
    openai_base_url: str = _setting("", url("http", "https"), "OpenAI-compatible endpoint; empty: OpenAI's own")
    openai_model: str = _setting("gpt-6-luna", str, "model of assistants that name none")
    embeddings_model: str = _setting("", str, "embeddings model for search by meaning; empty: search by words only")
    embeddings_base_url: str = _setting(
        "", url("http", "https"), "OpenAI-compatible endpoint of the embeddings; empty: that of the answers"
    )
    embeddings_api_key: str = _setting("", str, "its key; empty: OPENAI_API_KEY", secret=True)
    embeddings_query_prefix: str = _setting(
        "", str, "what the model wants before a question; in quotes, where it ends with a space", verbatim=True
    )
    embeddings_passage_prefix: str = _setting(
        "", str, "what the model wants before a passage; a change has all passages embedded anew", verbatim=True
    )
    embeddings_dimensions: int = _setting(
        "0", integer(0, 65_536), "numbers in a vector, where the model leaves the choice; 0: its own"
    )
    core_api_base_url: str = _setting(
        "", url("http", "https"), "core application, for `core` (`/llm/<assistant id>/query` under it)"
    )
    transcriber: str = _setting(
        "auto",
        one_of(*SPEECH_PROVIDERS),
        "what writes down what people say: `aws` (Transcribe), `openai` (TRANSCRIPTION_MODEL), `offline` (English "
        "only) or `auto`: openai when a model is named, else aws when AWS' key and region are set, else offline",
    )
    transcription_model: str = _setting("", str, "transcription model of the OpenAI-compatible endpoint")
    transcription_base_url: str = _setting(
        "", url("http", "https"), "OpenAI-compatible endpoint of the transcription; empty: that of the answers"
    )
    transcription_api_key: str = _setting("", str, "its key; empty: OPENAI_API_KEY", secret=True)
    transcription_languages: tuple[str, ...] = _setting(
        "en-US,pt-BR,zh-CN", languages, "what `aws` listens for where an assistant names no language"
    )
    transcribe_bucket: str = _setting(
        "", str, "S3 bucket for batch jobs of Transcribe; empty: recordings are streamed to it, which is faster"
    )
    max_audio_seconds: int = _setting("300", integer(1, 14_400), "longest recording")
    speech: str = _setting(
        "auto",
        one_of(*SPEECH_PROVIDERS),
        "what speaks answers: `aws` (Polly), `openai` (SPEECH_MODEL), `offline` (a basic voice) or `auto`, as above",
    )
    speech_model: str = _setting("", str, "speech model of the OpenAI-compatible endpoint")
    speech_base_url: str = _setting(
        "", url("http", "https"), "OpenAI-compatible endpoint of the speech; empty: that of the answers"
    )
    speech_api_key: str = _setting("", str, "its key; empty: OPENAI_API_KEY", secret=True)
    speech_voice: str = _setting(
        "", str, "voice of assistants that name none; empty: one that speaks the answer's language"
    )
    polly_engine: PollyEngine = _setting(
        "neural", one_of(*get_args(PollyEngine)), "engine of Polly; a voice has to support it"
    )
    synthesis_calls: int = _setting(
        "8", integer(1, 256), "sentences that one process has synthesized at the same time; answers take turns"
    )
    public_url: str = _setting(
        "", url("http", "https"), "address of this server as others reach it, for links; empty: as each request says"
    )
    answer_deadline_seconds: float = _setting("120", seconds, "after this an answer is too late (504)")
    history_tokens: int = _setting(
        "4000",
        integer(0, 1_000_000),
        "earlier turns a model sees at most, in estimated tokens; of `openai`: with which a conversation there begins",
    )
    aws_access_key_id: str = _setting(
        "", str, "key of S3, Transcribe and Polly; empty: boto3's own chain (profile, role ...)", secret=True
    )
    aws_secret_access_key: str = _setting("", str, "its secret", secret=True)
    aws_session_token: str = _setting("", str, "its token, if it is a temporary one", secret=True)
    aws_default_region: str = _setting("", str, "region of S3, Transcribe and Polly")
    aws_endpoint_url: str = _setting("", url("http", "https"), "address of another S3 (MinIO, Ceph ...); empty: AWS")
    aws_endpoint_url_polly: str = _setting("", url("http", "https"), "address of another Polly; empty: AWS")
    aws_endpoint_url_transcribe: str = _setting(
        "", url("http", "https"), "address of another Transcribe, for batch jobs; empty: AWS"
    )
    aws_endpoint_url_transcribe_streaming: str = _setting(
        "", url("http", "https"), "address of another Transcribe, for streams; empty: AWS"
    )
    max_upload_mb: int = _setting("50", integer(1, 2000), "largest document or recording, in MiB")
    messages_per_minute: int = _setting("600", integer(0, 1_000_000), "messages to one assistant; 0: no limit")
    metrics_token: str = _setting("", str, "bearer token of /metrics; empty: /metrics is off", secret=True)
    cors_origins: tuple[str, ...] = _setting(
        "", origins, "origins of browsers' pages that may call the API, separated by commas"
    )
    log_level: str = _setting(
        "INFO", one_of("DEBUG", "INFO", "WARNING", "ERROR"), "least severe log line that is written"
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read settings from a mapping of environment variables; empty values count as absent.

        Raises:
            SettingsError: with every fault at once.
        """
        verbatim = {setting.name.upper() for setting in fields(cls) if setting.metadata["verbatim"]}
        given = {name: value if name in verbatim else value.strip() for name, value in env.items() if value.strip()}
        given = {**aliases(given), **given}
        values: dict[str, Any] = {}
        faults: list[str] = []
        for setting in fields(cls):
            text = given.get(setting.name.upper())
            if text is None:
                continue
            try:
                values[setting.name] = setting.metadata["parse"](text)
            except ValueError as fault:
                faults.append(f"{setting.name.upper()} {fault}")
        settings = cls(**values)
        faults += settings._contradictions(given)
        if faults:
            raise SettingsError(faults)
        return settings

    def _contradictions(self, given: Mapping[str, str]) -> list[str]:
        """Return what is wrong between settings that are right by themselves."""
        faults: list[str] = []
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            faults.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together")
        if self.aws_session_token and not self.aws_access_key_id:
            faults.append("AWS_SESSION_TOKEN belongs to an AWS_ACCESS_KEY_ID")
        if self.embeddings_model and not self.embeddings_endpoint_is_known:
            faults.append("EMBEDDINGS_MODEL needs OPENAI_API_KEY, OPENAI_BASE_URL or EMBEDDINGS_BASE_URL beside it")
        faults += self._voice_faults()
        if self.language_model == "core" and not self.core_api_base_url:
            faults.append("CORE_API_BASE_URL is needed when LANGUAGE_MODEL=core")
        if self.language_model in ("openai_chat", "openai") and not (self.openai_api_key or self.openai_base_url):
            faults.append(f"OPENAI_API_KEY or OPENAI_BASE_URL is needed when LANGUAGE_MODEL={self.language_model}")
        if not self.openai_base_url and not self.openai_api_key:
            pairs = (("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"), ("ALI_API_KEY", "ALI_BASE_URL"))
            faults += [f"{key} needs {url} beside it" for key, url in pairs if key in given and url not in given]
        return faults

    def _voice_faults(self) -> list[str]:
        """Return what the chosen speech providers lack."""
        faults: list[str] = []
        parts = (
            ("TRANSCRIBER", self.effective_transcriber, "TRANSCRIPTION", self.transcription_base_url),
            ("SPEECH", self.effective_speech, "SPEECH", self.speech_base_url),
        )
        for name, chosen, prefix, address in parts:
            if chosen == "aws" and not self.aws_default_region:
                faults.append(f"AWS_DEFAULT_REGION is needed when {name}=aws")
            if chosen == "openai":
                if not getattr(self, f"{prefix.lower()}_model"):
                    faults.append(f"{prefix}_MODEL is needed when {name}=openai")
                if not (address or getattr(self, f"{prefix.lower()}_api_key") or self._has_endpoint):
                    faults.append(f"{name}=openai needs OPENAI_API_KEY, OPENAI_BASE_URL or {prefix}_BASE_URL beside it")
        return faults

    def secrets(self) -> list[str]:
        """Return the values that no log may show."""
        return [str(getattr(self, one.name)) for one in fields(self) if not one.repr and getattr(self, one.name)]

    @property
    def embeddings_endpoint_is_known(self) -> bool:
        """Tell whether there is an address or a key to ask for embeddings with."""
        return bool(self.embeddings_base_url or self.embeddings_api_key or self._has_endpoint)

    @property
    def effective_language_model(self) -> str:
        """Return the provider that `auto` stands for."""
        if self.language_model != "auto":
            return self.language_model
        return "openai_chat" if self._has_endpoint else "offline"

    @property
    def effective_transcriber(self) -> str:
        """Return what `auto` stands for."""
        return self._effective(self.transcriber, self.transcription_model)

    @property
    def effective_speech(self) -> str:
        """Return what `auto` stands for."""
        return self._effective(self.speech, self.speech_model)

    def _effective(self, chosen: str, model: str) -> str:
        """Return the provider of speech; with the address of another S3, the key is that one's."""
        if chosen != "auto":
            return chosen
        if model:
            return "openai"
        is_aws = self.aws_access_key_id and self.aws_default_region and not self.aws_endpoint_url
        return "aws" if is_aws else "offline"

    @property
    def _has_endpoint(self) -> bool:
        """Tell whether there is an OpenAI-compatible endpoint of the answers."""
        return bool(self.openai_api_key or self.openai_base_url)


def setting_rows() -> list[tuple[str, str, str]]:
    """Return (name, default, meaning) of every setting, as README and `.env.example` show them."""
    return [_row(setting) for setting in fields(Settings)]


def _row(setting: Field[Any]) -> tuple[str, str, str]:
    return setting.name.upper(), setting.metadata["default"], setting.metadata["meaning"]
