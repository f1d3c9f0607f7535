"""One conversation while its assistant goes from one of OpenAI's two interfaces to the other and back, at our fake."""

from collections.abc import Iterator

import pytest

from tests.e2e.hosted import Place, placed, settings_for, wait_until
from tests.emulators.provider import CUT, Asked, Fault, Moment, provider
from tests.emulators.provider_account import Json

POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n"
PHASES = ("openai_chat", "openai", "openai_chat", "openai")


@pytest.fixture(scope="module")
def place(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a server with both providers."""
    folder = tmp_path_factory.mktemp("switch")
    with provider() as openai, placed(openai, settings_for(openai, stores, folder), folder) as running:
        yield running


def said_in(place: Place, about: str = "") -> list[list[str]]:
    """Return what people have said in each conversation at the provider, or in each in which one said that."""
    account = place.openai.account
    with account.lock:
        held = [[account.items[item] for item in one.items] for one in account.conversations.values()]
    said = [[text_of(item) for item in items if item.get("role") == "user"] for items in held]
    return [one for one in said if not about or about in one]


def text_of(item: Json) -> str:
    """Return a message's text."""
    return "".join(part["text"] for part in item["content"])


def test_a_conversation_goes_on_whichever_provider_answers(place: Place) -> None:
    assistant = place.api.new_assistant(provider=PHASES[0])
    place.api.upload(assistant, "policy.md", POLICY)
    said: list[str] = []
    for number, phase in enumerate(PHASES):
        switched = place.api.put(f"/assistants/update/{assistant['_id']}", json={"provider": phase})
        assert switched.json()["provider"] == phase
        if phase == "openai":
            report = place.api.post(f"/assistants/sync/{assistant['_id']}?wait=true").json()
            assert (report["hosted"], report["missing"], report["in_order"]) == (True, [], 1)
        for question in (f"My number {number} is {number}{number}.", "How many vacation days?", f"Recall! {number}"):
            chat = place.api.say(assistant, question).json()
            assert (chat["status"], chat["provider"]) == ("answered", phase)
            if "vacation" in question:
                assert chat["response"].endswith("Every employee has 25 vacation days a year.")
                (citation,) = chat["citations"]
                assert "25 vacation days" in POLICY[citation["start"] : citation["end"]]
            if "Recall" in question:
                assert chat["response"] == "You said: " + " | ".join(said)
            said.append(question)
    assert said_in(place, about=said[0]) == [said]
    place.sweep(assistant)
    assert list(place.texts(assistant).values()) == list(place.attached(assistant).values()) == [POLICY]


def test_an_assistant_that_leaves_the_provider_leaves_no_document_there(place: Place) -> None:
    assistant = place.api.new_assistant(provider="openai")
    place.api.upload(assistant, "policy.md", POLICY)
    assert len(place.attached(assistant)) == 1
    name = f"orquestra-{assistant['_id']}"
    place.api.put(f"/assistants/update/{assistant['_id']}", json={"provider": "openai_chat"})
    wait_until(lambda: all(file.retired_at for file in place.shelf(assistant).files))
    assert len(place.attached(assistant)) == 1, "answers that go on may need it"
    place.sweep(assistant)
    wait_until(lambda: name not in {store.name for store in place.openai.account.stores.values()})
    assert place.texts(assistant) == {}
    assert "25 vacation days" in place.api.say(assistant, "How many vacation days?").json()["response"]


@pytest.mark.parametrize("moment", Moment)
def test_an_answer_that_broke_off_is_in_no_memory(place: Place, moment: Moment) -> None:
    def cut(now: Moment, asked: Asked) -> Fault | None:
        return CUT if now is moment and "broken" in str(asked.body) else None

    assistant = place.api.new_assistant(provider="openai")
    place.api.say(assistant, "First.")
    place.openai.rule = cut
    assert place.api.say(assistant, "This will be broken.").status_code == 502
    place.openai.rule = lambda now, asked: None
    place.api.put(f"/assistants/update/{assistant['_id']}", json={"provider": "openai_chat"})
    assert place.api.say(assistant, "Recall! 1").json()["response"] == "You said: First."
    place.api.put(f"/assistants/update/{assistant['_id']}", json={"provider": "openai"})
    assert place.api.say(assistant, "Recall! 2").json()["response"] == "You said: First. | Recall! 1"
    wait_until(lambda: ["First.", "Recall! 1", "Recall! 2"] in said_in(place))
