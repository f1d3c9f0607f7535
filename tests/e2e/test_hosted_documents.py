"""An assistant's documents at the provider: from the upload to the deletion, with a fake of OpenAI."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.hosted import Place, placed, settings_for, wait_until
from tests.emulators.provider import Asked, Fault, Moment, Status, provider

POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n\n# Parking\n\nThe garage opens at six o'clock.\n"
REVISED = POLICY.replace("25", "31")


@pytest.fixture(scope="module")
def place(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a server that keeps documents at the fake."""
    folder = tmp_path_factory.mktemp("hosted")
    with provider() as openai, placed(openai, settings_for(openai, stores, folder), folder) as running:
        yield running


@pytest.fixture
def assistant(place: Place) -> dict[str, Any]:
    """Give an assistant with one document."""
    made = place.api.new_assistant()
    assert place.api.upload(made, "policy.md", POLICY).json()["status"] == "ready"
    return made


def test_an_uploaded_document_is_at_the_provider_and_an_answer_cites_ours(
    place: Place, assistant: dict[str, Any]
) -> None:
    (document,) = place.api.get(f"/documents/list?assistant_id={assistant['_id']}").json()
    (file,) = place.shelf(assistant).files
    name = f"policy.{assistant['_id']}.{file.build}.md"
    assert place.attached(assistant) == place.texts(assistant) == {name: POLICY}
    (store,) = [one for one in place.openai.account.stores.values() if one.name == f"orquestra-{assistant['_id']}"]
    assert store.files[file.file_id].attributes == {"number": 1.0, "document": document["_id"]}
    chat = place.api.say(assistant, "How many vacation days?").json()
    assert chat["response"] == "Every employee has 25 vacation days a year."
    asked = place.openai.asked("responses.create")[-1].body
    assert "25" not in asked["instructions"] and asked["tools"][0]["vector_store_ids"] == [store.id]
    (citation,) = chat["citations"]
    assert (citation["document_id"], citation["filename"]) == (document["_id"], "policy.md")
    assert POLICY[citation["start"] : citation["end"]] == citation["passage"]
    assert "25 vacation days" in citation["passage"]


def test_what_was_parsed_is_hosted_as_our_text(place: Place) -> None:
    assistant = place.api.new_assistant()
    html = "<html><body><h1>Holidays</h1><p>The office is closed on the first of May.</p></body></html>"
    place.api.upload(assistant, "holidays.html", html)
    ((name, text),) = place.attached(assistant).items()
    assert name.startswith(f"holidays.{assistant['_id']}.") and name.endswith(".md")
    assert text.startswith("# Holidays") and "<p>" not in text
    chat = place.api.say(assistant, "When is the office closed?").json()
    (citation,) = chat["citations"]
    assert text[citation["start"] : citation["end"]] == citation["passage"]


def test_a_replaced_document_leaves_one_file_the_new_one(place: Place, assistant: dict[str, Any]) -> None:
    place.api.say(assistant, "How many vacation days?")
    assert place.api.upload(assistant, "policy.md", REVISED).json()["status"] == "ready"
    chat = place.api.say(assistant, "How many vacation days?").json()
    assert chat["response"] == "Every employee has 31 vacation days a year."
    assert REVISED[chat["citations"][0]["start"] : chat["citations"][0]["end"]] == chat["citations"][0]["passage"]
    assert set(place.attached(assistant).values()) == {POLICY, REVISED}, "answers that go on may need the old one"
    place.sweep(assistant)
    assert list(place.attached(assistant).values()) == list(place.texts(assistant).values()) == [REVISED]
    (file,) = place.shelf(assistant).files
    assert file.number == 2


def test_answers_go_on_when_the_vector_store_is_gone_and_it_is_made_anew(
    place: Place, assistant: dict[str, Any]
) -> None:
    account = place.openai.account
    account.delete_store(place.shelf(assistant).store_id)
    chat = place.api.say(assistant, "How many vacation days?").json()
    assert "25 vacation days" in chat["response"] and chat["citations"][0]["filename"] == "policy.md"
    assert not place.openai.asked("responses.create")[-1].body.get("tools")
    wait_until(lambda: list(place.attached(assistant).values()) == [POLICY])
    wait_until(lambda: place.shelf(assistant).files[-1].searchable)
    place.api.say(assistant, "How many vacation days?")
    assert place.openai.asked("responses.create")[-1].body["tools"]
    place.sweep(assistant)
    assert list(place.texts(assistant).values()) == [POLICY]


def test_a_deleted_document_leaves_none(place: Place, assistant: dict[str, Any]) -> None:
    (document,) = place.api.get(f"/documents/list?assistant_id={assistant['_id']}").json()
    assert place.api.delete(f"/documents/delete/{document['_id']}").is_success
    chat = place.api.say(assistant, "How many vacation days?").json()
    assert "25" not in chat["response"] and chat["citations"] == []
    place.sweep(assistant)
    assert place.attached(assistant) == place.texts(assistant) == {}
    assert place.shelf(assistant).files == ()


def test_a_deleted_assistant_leaves_nothing(place: Place, assistant: dict[str, Any]) -> None:
    account = place.openai.account
    others = set(account.conversations), set(account.stores), set(account.items), set(account.responses)
    for address in ("one", "two"):
        place.api.say(assistant, "How many vacation days?", id=address)
    assert place.api.delete(f"/assistants/delete/{assistant['_id']}").is_success
    wait_until(lambda: place.texts(assistant) == {} and not place.attached(assistant))
    wait_until(
        lambda: (
            set(account.conversations) <= others[0]
            and f"orquestra-{assistant['_id']}" not in {store.name for store in account.stores.values()}
            and set(account.items) <= others[2]
            and set(account.responses) <= others[3]
        ),
        60,
    )
    wait_until(lambda: assistant["_id"] not in place.registry.assistants())


def test_a_document_that_the_provider_cannot_process_answers_by_our_passages(place: Place) -> None:
    assistant = place.api.new_assistant()
    place.openai.account.unreadable = lambda filename: assistant["_id"] in filename
    assert place.api.upload(assistant, "policy.md", POLICY).json()["status"] == "ready"
    assert list(place.attached(assistant).values()) == [POLICY]
    assert not place.shelf(assistant).files[0].searchable
    assert "25 vacation days" in place.api.say(assistant, "How many vacation days?").json()["response"]
    assert not place.openai.asked("responses.create")[-1].body.get("tools")
    assert place.api.post(f"/assistants/sync/{assistant['_id']}").json()["missing"] == ["policy.md"]


def test_a_document_that_the_provider_does_not_take_is_ready_and_answers_by_our_passages_until_it_does(
    place: Place,
) -> None:
    def refuse(moment: Moment, asked: Asked) -> Fault | None:
        hosting = asked.operation.startswith(("files.", "vector_stores."))
        return Status(401) if hosting and moment is Moment.BEFORE else None

    assistant = place.api.new_assistant()
    place.openai.rule = refuse
    try:
        assert place.api.upload(assistant, "policy.md", POLICY).json()["status"] == "ready"
        chat = place.api.say(assistant, "How many vacation days?").json()
        assert "25 vacation days" in chat["response"]
        assert chat["citations"][0]["filename"] == "policy.md"
        assert place.texts(assistant) == {}
        refused = place.api.post(f"/assistants/sync/{assistant['_id']}")
        assert (refused.status_code, refused.json()["code"]) == (502, "provider_auth")
    finally:
        place.openai.rule = lambda moment, asked: None
    report = place.api.post(f"/assistants/sync/{assistant['_id']}?wait=true").json()
    assert (report["hosted"], report["missing"], report["in_order"]) == (True, [], 1)
    assert list(place.attached(assistant).values()) == [POLICY]
    chat = place.api.say(assistant, "How many vacation days?", id="another").json()
    assert chat["response"] == "Every employee has 25 vacation days a year."
    assert place.openai.asked("responses.create")[-1].body["tools"]


def test_no_secret_and_no_text_is_in_the_log(place: Place) -> None:
    log = "".join(place.server.log)
    assert "sk-a-key" not in log and "vacation days" not in log
