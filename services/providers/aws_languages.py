"""Languages as AWS' services name them."""

from collections.abc import Sequence

_TAGS = {"arb": "ar", "cmn-CN": "zh-CN", "yue": "zh-HK", "yue-CN": "zh-HK"}
"""The tags in common use of what Polly names by its exact language."""

_SAME = {"cmn": "zh", "fil": "tl", "nb": "no", "nn": "no", "yue": "zh"}
"""One code for languages that are named by two."""

_USUAL = {
    "ar": "ar-SA",
    "ckb": "ckb-IQ",
    "cy": "cy-GB",
    "en": "en-US",
    "fa": "fa-IR",
    "pt": "pt-BR",
    "sw": "sw-KE",
    "zh": "zh-CN",
}
"""Where the code of the language is none of its usual region, as it is in fr-FR."""


_WRITTEN = {"HANS": "CN", "HANT": "TW"}
"""The region whose code stands for a script, where a tag names no region."""


def common_tag(code: str) -> str:
    """Return the BCP 47 tag in common use of one of AWS' codes."""
    return _TAGS.get(code, code)


def nearest(tag: str, known: Sequence[str]) -> str | None:
    """Return the code of a BCP 47 tag among those a service knows: with its region, else the language's usual one.

    Args:
        known: codes such as `pt-BR` or `cmn-CN`; where no region is the usual one, the first of a language counts.
    """
    language, regions = _parts(tag)
    codes = {
        region: code
        for code in reversed(known)
        for name, found in [_parts(code)]
        if name == language
        for region in found or [""]
    }
    written = [_WRITTEN[part] for part in regions if part in _WRITTEN]
    wanted = [*regions, *written, _USUAL.get(language, "").partition("-")[2], language.upper()]
    return next((codes[region] for region in wanted if region in codes), next(reversed(codes.values()), None))


def _parts(tag: str) -> tuple[str, list[str]]:
    language, *regions = common_tag(tag).replace("_", "-").split("-")
    return _SAME.get(language.lower(), language.lower()), [region.upper() for region in regions]
