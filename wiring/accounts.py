"""Logins and the secret that signs them, as the settings have it."""

from datetime import timedelta

from repositories.secret_file import load_or_create_secret
from services.auth import AuthPolicy
from settings import Settings


def auth_policy(settings: Settings) -> AuthPolicy:
    """Return what the settings decide about logins."""
    return AuthPolicy(
        registration_open=settings.registration == "open",
        access_lifetime=timedelta(minutes=settings.access_token_minutes),
        refresh_lifetime=timedelta(days=settings.refresh_token_days),
        logins_per_minute=settings.logins_per_minute,
    )


def jwt_secret(settings: Settings) -> str:
    """Return the secret of the settings, or the one that this machine generated for itself."""
    return settings.jwt_secret_key or load_or_create_secret(settings.data_dir)
