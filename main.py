"""Start Orquestra: `create_app()` is what a WSGI server calls, `python main.py` serves by itself.

`python main.py --help` lists the commands. `wiring/` puts the parts together.
"""

import gc

gc.disable()  # what imports make stays: looking for garbage in it would take a fifth of the start

import atexit
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from types import FrameType

import click
from dotenv import load_dotenv
from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from commands import import_assistant, import_folder, import_tools, migrate_store
from evaluation_commands import evaluation
from logs import configure_logging
from models.errors import OrquestraError
from routes import (
    assistants,
    audio,
    auth,
    chats,
    conversations,
    dashscope_door,
    documents,
    evaluations,
    legacy,
    legacy_voice,
    openai_door,
    ops,
    pages,
    responses_door,
    voice,
)
from routes.access import METRICS_KEY, SERVICES_KEY, register_tokens
from routes.errors import register_errors
from routes.metrics import Metrics
from routes.openapi import openapi_config, register_openapi
from routes.parsing import ReferenceConverter
from routes.requests import register_requests
from routes.room import ROOM_KEY, Room
from services.providers.jwt_tokens import ISSUER, LEEWAY_SECONDS
from services.providers.offline import OfflineModel
from services.registry import Services
from serving import Ending, Server, listen, url_of
from settings import Settings, SettingsError
from supervisor import INHERITED, METRICS_FOLDER, Supervisor, Tie
from wiring import build_services, jwt_secret

gc.freeze()  # nor is it looked through later
gc.enable()

VERSION = "0.2.0"
_EXPOSED_HEADERS = [
    "Idempotent-Replayed", "Link", "Location", "Retry-After", "X-Request-ID", "X-Thread-ID", "X-Total-Count",
    "X-Chat-ID", "X-Chat-Status", "X-Conversation-ID", "X-Speech", "X-Transcriber", "X-Transcript",
]  # fmt: skip
logger = logging.getLogger("orquestra")


def create_app(settings: Settings | None = None, services: Services | None = None) -> Flask:
    """Create the app; without arguments, as a WSGI server calls it, from the environment and `.env`."""
    if settings is None:
        settings = load_settings()
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["reference"] = ReferenceConverter
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # the default provider has it
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config.update(
        openapi_config(VERSION),
        JWT_SECRET_KEY=jwt_secret(settings),
        JWT_TOKEN_LOCATION=["headers"],
        JWT_DECODE_ISSUER=ISSUER,
        JWT_DECODE_LEEWAY=LEEWAY_SECONDS,
        METRICS_TOKEN=settings.metrics_token,
        PUBLIC_URL=settings.public_url.rstrip("/"),
    )
    if services is None:
        services = build_services(settings)
        atexit.register(services.close)
    app.extensions[SERVICES_KEY] = services
    app.extensions[METRICS_KEY] = metrics = Metrics(os.environ.get(METRICS_FOLDER))
    app.extensions[ROOM_KEY] = room = Room(settings.threads, metrics.room_used)
    metrics.room_size.set(room.size)
    services.slots.show(metrics.show_synthesis)
    services.speech_calls.show(metrics.count_transcription, metrics.count_synthesis)
    app.wsgi_app = room.around(app.wsgi_app)  # type: ignore[assignment, method-assign]
    if settings.proxy_hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxy_hops)  # type: ignore[method-assign]
    if settings.cors_origins:
        CORS(app, origins=list(settings.cors_origins), expose_headers=_EXPOSED_HEADERS, max_age=3600)
    register_requests(app, metrics, settings.max_upload_mb * 2**20)
    register_tokens(app)
    api = register_openapi(app)
    doors = (openai_door, responses_door, dashscope_door)
    spoken, drop_in = (voice, audio), (legacy, legacy_voice)
    for module in (auth, assistants, chats, conversations, documents, evaluations, ops, *spoken, *drop_in, *doors):
        api.register_blueprint(module.blueprint)
    app.register_blueprint(pages.blueprint)
    register_errors(app)
    return app


def load_settings() -> Settings:
    """Read `.env` and the environment, and make the log what they say.

    Raises:
        SettingsError: with every fault at once.
    """
    load_dotenv(".env")
    settings = Settings.from_env(os.environ)
    configure_logging(settings.log_level, settings.secrets())
    return settings


_workers_option = click.option("--workers", type=click.IntRange(1, 64), help="Server processes; else WORKERS decides.")


@click.group(invoke_without_command=True)
@_workers_option
@click.pass_context
def commands(context: click.Context, workers: int | None) -> None:
    """Serve Orquestra, or do one of the other things below. Settings come from the environment or `.env`."""
    context.obj = load_settings
    if context.invoked_subcommand is None:
        context.invoke(serve, workers=workers)


@commands.command()
@_workers_option
def serve(workers: int | None) -> None:
    """Serve until a signal. With several server processes SIGHUP replaces them, without a pause."""
    env = dict(os.environ)  # without `.env`: processes that are started later read it again
    inherited = os.environ.pop(INHERITED, "")
    settings = load_settings()
    workers = workers or settings.workers
    if inherited:
        _serve_for(Tie(inherited), settings)
    elif workers == 1:
        _serve_alone(settings)
    else:
        _supervise(settings, workers, env)


def _serve_alone(settings: Settings) -> None:
    app = create_app(settings)
    listener = listen(settings)
    server = Server(app, settings, listener)
    _announce(settings, listener)
    server.run(_ending(app))
    _close(app)


def _serve_for(tie: Tie, settings: Settings) -> None:
    """Be one of several server processes."""
    app = create_app(settings)
    Server(app, settings, tie.listener, supervised=True).run(_ending(app), tie.ready)
    _close(app)


def _supervise(settings: Settings, workers: int, env: dict[str, str]) -> None:
    """Run several server processes."""
    listener = listen(settings)
    folder = settings.data_dir.resolve() / "metrics" / str(listener.getsockname()[1])
    supervisor = Supervisor(listener, workers, [sys.executable, *sys.orig_argv[1:]], env, folder)
    if code := supervisor.run(lambda: _announce(settings, listener)):
        raise click.exceptions.Exit(code)


def _announce(settings: Settings, listener: socket.socket) -> None:
    if settings.effective_language_model == OfflineModel.provider:
        logger.warning("offline mode: answers are extracts from documents; set OPENAI_API_KEY or OPENAI_BASE_URL")
    url = url_of(listener)
    click.echo(f"Orquestra {VERSION} serves {url} (documentation: {url}/docs)", err=True)


def _ending(app: Flask) -> Ending:
    return Ending(_services_of(app).health.drain, app.extensions[ROOM_KEY].close)


def _close(app: Flask) -> None:
    close = _services_of(app).close
    close()
    atexit.unregister(close)


def _services_of(app: Flask) -> Services:
    services: Services = app.extensions[SERVICES_KEY]
    return services


@commands.command()
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Jobs at the same time.")
def worker(threads: int) -> None:
    """Index documents for the servers that share these stores, until a signal."""
    services = build_services(replace(load_settings(), job_threads=threads))
    click.echo(f"Orquestra {VERSION} works on jobs, {threads} at a time", err=True)
    _wait_for_signal()
    services.close()


commands.add_command(import_folder)
commands.add_command(import_assistant)
commands.add_command(import_tools)
commands.add_command(migrate_store)
commands.add_command(evaluation)


def _wait_for_signal() -> None:
    """Return at SIGTERM or SIGINT; a second one ends the process at once."""
    signals: SimpleQueue[int] = SimpleQueue()  # its put may interrupt its get; Event's set and wait may not
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopping:
            os._exit(1)
        stopping.append(number)
        signals.put(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signals.get()


def run(call: Callable[[], object]) -> int:
    """Run a command; return the exit code, 2 when it cannot start."""
    try:
        call()
    except (SettingsError, OrquestraError, OSError, ValueError) as fault:
        click.echo(f"Orquestra stops. {fault}", err=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda: commands(standalone_mode=True)))
