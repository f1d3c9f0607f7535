"""Whether this server can do its work, and with what."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import Unavailable
from services.ports import Probe


@dataclass(frozen=True)
class Readiness:
    """What readiness found.

    Attributes:
        checks: name of a part -> what answers there, or what is wrong with it.
    """

    ready: bool
    draining: bool
    checks: Mapping[str, str]
    provider: str
    model: str


class HealthService:
    """Answer readiness from the stores themselves.

    Args:
        probes: name of a part -> how to ask it.
        provider: the language model provider of assistants that name none.
    """

    def __init__(self, probes: Mapping[str, Probe], provider: str, model: str) -> None:
        self._probes = probes
        self.provider = provider
        self.model = model
        self._draining = False

    def drain(self) -> None:
        """Say from now on that no new work should be sent here."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Tell whether the server is on its way out."""
        return self._draining

    def readiness(self) -> Readiness:
        """Ask every part."""
        checks: dict[str, str] = {}
        ready = not self._draining
        for name, probe in self._probes.items():
            try:
                checks[name] = probe.ping()
            except Unavailable as fault:
                checks[name] = f"unavailable: {fault.detail}"
                ready = False
        return Readiness(ready, self._draining, checks, self.provider, self.model)
