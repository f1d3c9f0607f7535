"""What can go wrong with an MCP server, in words for those who manage assistants and for models."""

from dataclasses import dataclass

from models.errors import ProviderFailed

FAILED = "tool_server_failed"
REFUSED = "tool_server_refused"


@dataclass(frozen=True)
class Fault:
    """Why a server cannot be used; `reason` continues a sentence that begins with its name."""

    reason: str
    code: str = FAILED


ABSENT = Fault("cannot be reached. Check its URL, and that it runs.")
SILENT = Fault("did not answer in time. Check that it runs, and that its transport is the right one.")
FOREIGN = Fault("does not answer as an MCP server. Check its URL and its transport.")
PRIVATE = Fault(
    "is in a private network. Only the operator of this server can allow that, in MCP_NETWORKS or MCP_SERVERS_FILE.",
    REFUSED,
)
UNKNOWN = Fault("has a host name that no address is known for. Check its URL.")
NOT_STARTED = Fault("could not be started. Check its command in MCP_SERVERS_FILE.")
ENDED = Fault("ended its connection.")
TOO_LARGE = Fault("sent more at once than is read.")
CROWDED = Fault("has to wait: too many servers are in use at this moment. Try again.")
STOPPING = Fault("is not asked any more: this server stops. Try again.")


def fault_of_status(status: int) -> Fault:
    """Return what an HTTP status that is no success says about a server."""
    if status in (401, 403):
        return Fault(f"does not accept the credentials (HTTP {status}). Check its headers.")
    if status in (404, 405):
        return Fault(f"has no MCP under its URL (HTTP {status}). Check its URL and its transport.")
    if 300 <= status < 400:
        return Fault(f"sends us to another address (HTTP {status}). Name that one as its URL.")
    return Fault(f"answered HTTP {status}. Try again later.")


def failure(name: str, fault: Fault) -> ProviderFailed:
    """Return the error for a server of this name."""
    return ProviderFailed(f"The tool server {name} {fault.reason}", code=fault.code)


class NotDelivered(Exception):
    """The server certainly never got the request, so that it may be sent again."""
