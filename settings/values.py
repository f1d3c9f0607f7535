"""How the text of a setting becomes its value; a `ValueError` says what the text must be."""

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return what takes a whole number within bounds."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return parse


def seconds(text: str) -> float:
    """Take a time of up to an hour."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError("must be a number of seconds") from None
    if not 0 < number <= 3600:
        raise ValueError("must be above 0 and at most 3600 seconds")
    return number


def one_of(*choices: str) -> Callable[[str], str]:
    """Return what takes one of some words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in {choice.lower() for choice in choices}:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return next(choice for choice in choices if choice.lower() == text.lower())

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """Return what takes an address with one of some schemes, or none."""

    def parse(text: str) -> str:
        if text and not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text

    return parse


def folder(text: str) -> Path:
    """Take a folder."""
    if "://" in text:
        raise ValueError("must be a folder; other places are not supported yet")
    return Path(text)


def documents(text: str) -> str:
    """Take a folder, or `s3://bucket` with an optional prefix."""
    scheme, separator, rest = text.partition("://")
    if separator and (scheme != "s3" or not rest.strip("/")):
        raise ValueError("must be a folder or s3://bucket/prefix")
    return text


def secret(text: str) -> str:
    """Take a secret of 32 characters or more, or none."""
    if text and len(text) < 32:
        raise ValueError("must have at least 32 characters, or be empty to have one generated")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Take origins of browsers' pages, separated by commas."""
    return tuple(origin.strip() for origin in text.split(",") if origin.strip())


def languages(text: str) -> tuple[str, ...]:
    """Take two or more languages with their regions, separated by commas."""
    tags = tuple(tag.strip() for tag in text.split(",") if tag.strip())
    if len(tags) < 2 or any(not re.fullmatch(r"[a-z]{2,3}-[A-Z]{2}", tag) for tag in tags):
        raise ValueError("must be two or more languages such as pt-BR, separated by commas")
    if len({tag.partition("-")[0] for tag in tags}) < len(tags):
        raise ValueError("must name each language once: it is not found out whether en-US or en-GB is spoken")
    return tags


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Take networks, separated by commas."""
    try:
        return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())
    except ValueError:
        raise ValueError("must be networks such as 10.1.0.0/16, separated by commas") from None
