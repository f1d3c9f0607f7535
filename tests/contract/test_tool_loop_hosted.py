"""The loop of tools with conversations that the provider keeps: the engine on both stores, the provider as scripted."""

import threading
from typing import Any

import pytest

from models.errors import ProviderFailed
from repositories.redis.threads import RedisThreads
from tests.contract.engine import Engine
from tests.contract.hosted import Peer, scripted
from tests.contract.stores import Stores, make_assistant
from tests.contract.tool_servers import ToolServers, source, spec, waiting
from tests.emulators.openai_wire import document, stream
from tests.emulators.response_wire import answer, begun, called, conversation, ended

ARGUMENTS = '{"order": "7"}'
CALLED = stream(begun(), called("order_status", ARGUMENTS), ended())


def engine_of(stores: Stores, peer: Peer) -> Engine:
    """Return an engine whose assistant has a tool and is answered by the provider."""
    release = threading.Event()
    release.set()
    assistant = make_assistant(tools=(source(),))
    stores.assistants.add(assistant)
    host = ToolServers().offer(spec("order_status", "order"), waiting(release, "in transit"))
    model: Any = peer.model
    return Engine(stores, model, assistant=assistant, host=host)


def test_rounds_stay_in_the_providers_conversation(stores: Stores, registry: RedisThreads) -> None:
    replies = (conversation("conv_1"), CALLED, answer("It is in transit."), answer("You are welcome."))
    with scripted(registry, *replies) as peer:
        engine = engine_of(stores, peer)
        chat = engine.say("Where is order 7?").chat
        engine.say("Thanks.")
        asked = peer.asked()
    assert (chat.response, [use.output for use in chat.tools]) == ("It is in transit.", ["in transit"])
    assert asked == [
        "/v1/conversations",
        ("conv_1", "Where is order 7?"),
        ("conv_1", "call_1 -> in transit"),
        ("conv_1", "Thanks."),
    ]


def test_a_round_that_fails_leaves_a_conversation_that_is_not_gone_on_with(
    stores: Stores, registry: RedisThreads
) -> None:
    refused = document(400, {"error": {"message": "no", "type": "invalid_request_error"}})
    replies = (conversation("conv_1"), CALLED, refused, conversation("conv_2"), CALLED, answer("It is in transit."))
    with scripted(registry, *replies) as peer:
        engine = engine_of(stores, peer)
        with pytest.raises(ProviderFailed):
            engine.say("Where is order 7?", message_id="m")
        chat = engine.say("Where is order 7?", message_id="m").chat
        asked = peer.asked()
    assert chat.response == "It is in transit." and len(chat.tools) == 1
    assert asked[-3:] == ["/v1/conversations", ("conv_2", "Where is order 7?"), ("conv_2", "call_1 -> in transit")]
