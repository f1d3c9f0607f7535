"""Datasets: kept, and made from chats and documents."""

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from models.assistants import Assistant
from models.chats import Chat, ChatStatus, Citation, Feedback
from models.conversations import Channel
from models.deadline import Deadline
from models.documents import Passage
from models.errors import CallCancelled, Invalid, NotFound, ProviderFailed
from models.evaluations import EVALUATION, DatasetItem, Making, Origin
from models.given import Turn
from models.ids import new_id
from models.paging import Page
from models.users import OPERATOR, Principal, Role
from services.evaluation.datasets import DatasetService
from services.evaluation.from_chats import ChatQuestions
from services.evaluation.from_documents import DocumentQuestions
from services.evaluation.making import DatasetMaker
from services.evaluation.scoring import normalised
from services.providers.scripted import ScriptedModel
from tests.contract.stores import NOW, Stores, later, make_assistant, make_chat, make_document

CHATS, DOCUMENTS = Making(Origin.CHATS), Making(Origin.DOCUMENTS, offline=True)
UP, DOWN = Feedback(1, "u", NOW), Feedback(-1, "u", NOW, "too short")
VACATION = (
    "Every employee of the company receives twenty-seven days of paid vacation in each calendar year of work. "
    "Unused vacation expires at the end of March of the following year unless the manager agrees in writing."
)
SECURITY = (
    "Passwords of every account need at least fourteen characters and are kept in the password manager only. "
    "A lost laptop is reported to the security desk within four hours, at any time of the day or the night."
)
CHINESE = "员工每年享有十五天带薪年假，当年未休的年假可以结转到次年六月三十日。婚假为十三天，须在登记后一年内休完。" * 2


def service(stores: Stores, model: ScriptedModel | None = None) -> DatasetService:
    """Return the service over a store."""
    documents = DocumentQuestions(stores.documents, stores.passages, model, 20.0)
    maker = DatasetMaker(ChatQuestions(stores.chats), documents)
    return DatasetService(stores.assistants, stores.datasets, maker)


@pytest.fixture
def assistant(stores: Stores) -> Assistant:
    """Give an assistant."""
    made = make_assistant()
    stores.assistants.add(made)
    return made


class Talk:
    """A conversation whose chats are stored one after the other."""

    def __init__(self, stores: Stores, assistant: Assistant, service: str = "WhatsApp") -> None:
        self.stores, self.assistant, self.conversation = stores, assistant, new_id()
        self.channel = Channel(self.conversation, service)

    def chat(self, message: str | None, response: str | None, **fields: Any) -> Chat:
        """Store a chat."""
        made = make_chat(self.assistant.id, self.conversation, channel=self.channel, **fields)
        made = replace(made, message=message, response=response)
        assert self.stores.chats.add(made)
        return made

    def reply(self, text: str) -> Chat:
        """Store a human's words."""
        return self.chat(None, text, answered_by=new_id())


def made(stores: Stores, assistant: Assistant, making: Making = CHATS, model: ScriptedModel | None = None) -> Any:
    return list(service(stores, model).made(OPERATOR, assistant.id, making, Deadline(10)))


def test_rated_chats_become_items_with_what_was_said_before(stores: Stores, assistant: Assistant) -> None:
    talk = Talk(stores, assistant)
    talk.chat("Hello", "Hi!")
    talk.chat("Are you there?", None, status=ChatStatus.FAILED)
    talk.chat("Hey", None, status=ChatStatus.INACTIVE)
    citation = Citation("d", "leave.md", "27 days", 0, 7)
    good = talk.chat("How many days of vacation do I have?", "27 days.", feedback=UP, citations=(citation, citation))
    bad = talk.chat("And sick leave?", "No.", feedback=DOWN, citations=(citation,))
    talk.chat("Thanks", "Welcome")
    first, second = made(stores, assistant)
    assert first == DatasetItem(
        good.id,
        "How many days of vacation do I have?",
        expected="27 days.",
        documents=("leave.md",),
        history=(Turn("Hello", "Hi!"), Turn("Hey", None)),
        language="en",
        tags=("thumbs-up",),
    )
    assert (second.id, second.expected, second.documents, second.tags) == (bad.id, None, None, ("thumbs-down",))
    assert "No." in second.criteria and "too short" in second.criteria
    assert second.history[-1] == Turn("How many days of vacation do I have?", "27 days.")


def test_what_a_human_replied_is_expected(stores: Stores, assistant: Assistant) -> None:
    talk = Talk(stores, assistant)
    talk.chat("First?", None, status=ChatStatus.INACTIVE)
    asked = talk.chat("Second?", None, status=ChatStatus.INACTIVE)
    talk.reply("By Friday.")
    corrected = talk.chat("Which Friday?", "Any.", feedback=DOWN)
    talk.reply("The last one of the month.")
    items = made(stores, assistant)
    assert [(item.id, item.expected, item.tags) for item in items] == [
        (asked.id, "By Friday.", ("handed-over",)),
        (corrected.id, "The last one of the month.", ("thumbs-down", "handed-over")),
    ]
    assert items[1].history[-1] == Turn(None, "By Friday."), "what humans say is part of what was said"


def test_chats_are_chosen_by_rating_status_and_time(stores: Stores, assistant: Assistant) -> None:
    talk = Talk(stores, assistant)
    up = talk.chat("up", "a", feedback=UP)
    down = talk.chat("down", "a", feedback=DOWN)
    failed = talk.chat("failed", None, status=ChatStatus.FAILED)
    plain = talk.chat("plain", "a")
    Talk(stores, assistant, EVALUATION).chat("of a run", "a", feedback=UP)
    Talk(stores, make_assistant()).chat("of another", "a", feedback=UP)
    late = replace(make_chat(assistant.id, talk.conversation), message="late", feedback=UP, created_at=later(60))
    stores.chats.add(late)

    def ids(**chosen: Any) -> list[str]:
        return [item.id for item in made(stores, assistant, replace(CHATS, **chosen))]

    assert ids() == [up.id, down.id, late.id]
    assert ids(feedback=-1) == [down.id]
    assert ids(feedback=1) == [up.id, late.id]
    assert ids(status=ChatStatus.FAILED) == [failed.id]
    assert ids(status=ChatStatus.ANSWERED, feedback=-1) == [down.id]
    assert plain.id in ids(status=ChatStatus.ANSWERED)
    assert ids(since=later(1)) == [late.id]


def test_a_seed_chooses_the_same_chats(stores: Stores, assistant: Assistant) -> None:
    talk = Talk(stores, assistant)
    for number in range(30):
        talk.chat(f"question {number}", "a", feedback=UP)
    once, twice = (made(stores, assistant, replace(CHATS, limit=5, seed=1)) for _ in range(2))
    assert once == twice and len(once) == 5
    assert [item.id for item in once] == sorted(item.id for item in once)
    assert made(stores, assistant, replace(CHATS, limit=5, seed=2)) != once


def test_keys_that_people_pasted_are_taken_out(stores: Stores, assistant: Assistant) -> None:
    key = "orq_abcdefghijkl_" + "x" * 32
    talk = Talk(stores, assistant)
    talk.chat(f"my key {key}", f"your key {key}")
    talk.chat(f"Is {key} right, or sk-proj-0123456789abcdef?", f"{key} is.", feedback=UP)
    (item,) = made(stores, assistant)
    assert key not in repr(item) and "sk-proj" not in repr(item)
    assert item.question == "Is [key] right, or [key]?"


def test_nothing_to_ask_is_said(stores: Stores, assistant: Assistant) -> None:
    for making in (CHATS, DOCUMENTS):
        with pytest.raises(Invalid) as refused:
            made(stores, assistant, making)
        assert refused.value.code == "nothing_to_ask"


def upload(stores: Stores, assistant: Assistant, filename: str, *texts: str, language: str = "en") -> None:
    """Store a document with these passages."""
    document = make_document(assistant.id, filename)
    stores.documents.add(document)
    passages = [
        Passage(new_id(), assistant.id, document.id, "r1", filename, position, 0, len(text), text, language=language)
        for position, text in enumerate(texts)
    ]
    stores.passages.add(passages)


def test_questions_of_sentences_name_their_document_and_a_phrase_that_stands_there(
    stores: Stores, assistant: Assistant
) -> None:
    upload(stores, assistant, "leave.md", VACATION, "Short.")
    upload(stores, assistant, "security.md", SECURITY)
    upload(stores, assistant, "年假.txt", CHINESE, language="zh")
    items = made(stores, assistant, DOCUMENTS)
    assert sorted(item.documents for item in items) == [("leave.md",), ("security.md",), ("年假.txt",)]
    texts = {"leave.md": VACATION, "security.md": SECURITY, "年假.txt": CHINESE}
    for item in items:
        (name,), (phrase,) = item.documents, item.contains
        assert normalised(phrase) in normalised(texts[name])
        assert normalised(phrase) not in normalised(item.question)
    assert made(stores, assistant, DOCUMENTS) == items, "the same seed asks the same"
    assert made(stores, assistant, replace(DOCUMENTS, seed=1)) != items


def test_a_sentence_that_stands_in_two_passages_is_no_item(stores: Stores, assistant: Assistant) -> None:
    one = "Every employee of the company receives twenty-seven days of paid vacation in each calendar year of work."
    upload(stores, assistant, "a.md", one)
    upload(stores, assistant, "b.md", one)
    with pytest.raises(Invalid):
        made(stores, assistant, DOCUMENTS)


def test_a_model_writes_questions_whose_phrase_stands_in_the_passage(stores: Stores, assistant: Assistant) -> None:
    upload(stores, assistant, "leave.md", VACATION)
    upload(stores, assistant, "security.md", SECURITY)

    def write(request: Any, _: Any) -> list[str]:
        if "vacation" in request.question:
            return [
                'Sure: {"questions": [{"question": "How much vacation?", "phrase": "27 DAYS"},'
                ' {"question": "How much?", "phrase": "twenty-seven days", "expected": "Twenty-seven."},'
                ' {"question": "third", "phrase": "vacation"}, 7]}'
            ]
        return ['{"questions": [{"question": "When?", "phrase": "four hours"}, {"phrase": "desk"}]}']

    model = ScriptedModel([write, write])
    items = made(stores, assistant, replace(DOCUMENTS, offline=False, model="m"), model)
    found = {item.question: (item.documents, item.contains, item.expected) for item in items}
    assert found == {
        "How much?": (("leave.md",), ("twenty-seven days",), "Twenty-seven."),
        "When?": (("security.md",), ("four hours",), None),
    }
    assert {(request.model, request.temperature) for request in model.requests} == {("m", 0.0)}


def test_a_model_that_writes_nothing_usable_is_a_failure(stores: Stores, assistant: Assistant) -> None:
    upload(stores, assistant, "leave.md", VACATION)
    with pytest.raises(ProviderFailed) as failure:
        made(stores, assistant, replace(DOCUMENTS, offline=False), ScriptedModel([["no"]]))
    assert failure.value.code == "questions_unreadable"
    with pytest.raises(ProviderFailed, match="away"):
        made(stores, assistant, replace(DOCUMENTS, offline=False), ScriptedModel([ProviderFailed("away")]))


def test_the_first_failure_and_a_caller_who_leaves_end_all_writing(stores: Stores, assistant: Assistant) -> None:
    upload(stores, assistant, "leave.md", *[f"{VACATION} {number}" for number in range(9)])
    model = ScriptedModel([ProviderFailed("away"), *[[threading.Event()]] * 3])
    with pytest.raises(ProviderFailed, match="away"):
        made(stores, assistant, replace(DOCUMENTS, offline=False), model)
    assert model.calls <= 4
    deadline, model = Deadline(10), ScriptedModel([[threading.Event()]] * 4)
    threading.Timer(0.2, deadline.cancel).start()
    began = time.monotonic()
    with pytest.raises(CallCancelled):
        service(stores, model).made(OPERATOR, assistant.id, replace(DOCUMENTS, offline=False), deadline)
    assert time.monotonic() - began < 10, "nobody waits for the model any more"


def test_the_limit_bounds_what_a_model_is_asked(stores: Stores, assistant: Assistant) -> None:
    upload(stores, assistant, "leave.md", *[f"{VACATION} {number}" for number in range(9)])
    written = '{"questions": [{"question": "How much?", "phrase": "twenty-seven days"}]}'
    model = ScriptedModel([[written]] * 3)
    assert len(made(stores, assistant, replace(DOCUMENTS, offline=False, limit=3), model)) == 3
    assert model.calls == 3


def test_a_dataset_is_kept_for_its_owner(stores: Stores, assistant: Assistant) -> None:
    datasets, owner, stranger = (
        service(stores),
        Principal(assistant.owner_id, Role.USER),
        Principal("f" * 24, Role.USER),
    )
    items = [DatasetItem("1", "a"), DatasetItem("2", "b")]
    dataset = datasets.add(owner, assistant.id, "mine", items)
    assert (dataset.items, datasets.get(owner, dataset.id), datasets.items(dataset)) == (2, dataset, items)
    assert (
        list(datasets.list(owner, None, Page()).items) == [dataset] == list(datasets.list(OPERATOR, None, Page()).items)
    )
    assert list(datasets.list(stranger, assistant.id, Page()).items) == []
    for act in (datasets.get, datasets.delete):
        with pytest.raises(NotFound):
            act(stranger, dataset.id)
    with pytest.raises(NotFound):
        datasets.add(stranger, assistant.id, "theirs", items)
    datasets.delete(owner, dataset.id)
    with pytest.raises(NotFound):
        datasets.get(owner, dataset.id)
    assert list(stores.datasets.items(dataset.id)) == []
