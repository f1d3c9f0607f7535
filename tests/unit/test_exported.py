"""What the Assistants API gave, read line by line: texts, times, order, and what is no message at all."""

import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.clock import now
from models.errors import Invalid
from models.ids import id_at, is_id, new_id
from services.importing.exported_assistants import as_it_stands, read_export
from services.importing.exported_threads import ThreadFile, read_message
from services.templates import PromptValues, check, render

_VALUES = PromptValues("Ana", "queryAssistant", date(2026, 11, 21), "Bia")
_BITS = ["{", "}", "{{", "{%", "{#", "%}", "raw", "endraw", " ", "-", "+", "\n", "'", "é", "年", "x", "{% endraw %}"]


def message(number: int, role: str = "user", text: Any = "Hello", **fields: Any) -> dict[str, Any]:
    """Return a message as the API gave it."""
    content = [{"type": "text", "text": {"value": text, "annotations": []}}] if isinstance(text, str) else text
    given = {"id": f"msg_{number}", "object": "thread.message", "thread_id": "thread_1", "role": role}
    return {**given, "content": content, "created_at": 1_700_000_000 + number, "metadata": {}, **fields}


def write(path: Path, *lines: Any) -> Path:
    """Write JSON lines; texts and bytes as they are."""
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def scanned(path: Path) -> ThreadFile:
    """Return a file that was read once."""
    file = ThreadFile(path)
    file.scan(lambda done, of, what: None)
    return file


def test_instructions_render_as_they_stand() -> None:
    chance = random.Random(7)
    for _ in range(3000):
        text = "".join(chance.choices(_BITS, k=chance.randint(0, 12)))
        check(as_it_stands(text))
        assert render(as_it_stands(text), _VALUES) == text, repr(text)
    assert as_it_stands("No { template } at all.\r\n") == "No { template } at all.\r\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'"text"', "no JSON object"),
        (message(1, object="thread"), "`object`"),
        (message(1, "system"), "`role`"),
        (message(1, id=None), "`id`"),
        (message(1, id="m" * 257), "`id`"),
        (message(1, thread_id=" "), "`thread_id`"),
        (message(1, thread_id="\ud800"), "`thread_id`"),
        (message(1, created_at=None), "`created_at`"),
        (message(1, created_at=True), "`created_at`"),
        (message(1, created_at="1700000000"), "`created_at`"),
        (message(1, created_at=0), "past"),
        (message(1, created_at=1_700_000_000_000), "past"),
        (message(1, created_at=float("nan")), "past"),
        (message(1, created_at=10**400), "past"),
        (message(1, content=None), "`content`"),
        (message(1, content=[7]), "`content`"),
        (message(1, content=[{"type": "text", "text": {"annotations": []}}]), "`content`"),
    ],
)
def test_what_is_no_message_is_refused(line: Any, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        read_message(line if isinstance(line, bytes) else json.dumps(line).encode())


def text_of(given: dict[str, Any]) -> str | None:
    """Return the text that a message is read as."""
    read = read_message(json.dumps(given).encode())
    return read.text if read else None


def test_the_text_of_all_parts_is_taken() -> None:
    image = {"type": "image_file", "image_file": {"file_id": "file-1"}}
    parts = [{"type": "text", "text": {"value": "One"}}, image, {"type": "refusal", "refusal": "No."}]
    assert text_of(message(1, text=parts)) == "One\nNo."
    assert text_of(message(1, content="Plain")) == "Plain"
    assert text_of(message(1, text="a\0b\ud800c")) == "ab\ufffdc"
    assert text_of(message(1, text=[image])) is None
    assert text_of(message(1, text="  ")) is None


def test_marks_of_citations_are_taken_out_and_other_brackets_stay() -> None:
    said = "27 days 【4:0†source】. See【12†leave.md】 and 【重要】【a】."
    assert text_of(message(1, "assistant", said)) == "27 days. See and 【重要】【a】."
    assert text_of(message(1, "user", said)) == said
    marked = [{"type": "text", "text": {"value": "27【a】.", "annotations": [{"text": "【a】"}, {"text": "27"}, None]}}]
    assert text_of(message(1, "assistant", marked)) == "27."
    assert text_of(message(1, "assistant", "【1†source】")) is None


def order_of(tmp_path: Path, *messages: dict[str, Any]) -> list[str]:
    """Return the ids in the order in which they are taken."""
    return [one.id for one in scanned(write(tmp_path / "t.jsonl", *messages)).of_thread("thread_1")]


def test_messages_are_put_in_order(tmp_path: Path) -> None:
    question, answer, more = message(1), message(2, "assistant", created_at=1_700_000_001), message(3)
    assert order_of(tmp_path, question, answer, more) == ["msg_1", "msg_2", "msg_3"]
    assert order_of(tmp_path, more, answer, question) == ["msg_1", "msg_2", "msg_3"], "the API lists newest first"
    assert order_of(tmp_path, answer, question) == ["msg_1", "msg_2"], "in one second, an answer is no beginning"
    assert order_of(tmp_path, question, answer) == ["msg_1", "msg_2"]
    assert order_of(tmp_path, question, message(9), more, more, question) == ["msg_1", "msg_3", "msg_9"]


def test_a_file_is_read_around_what_is_wrong(tmp_path: Path) -> None:
    other = message(2, thread_id="thread_2")
    path = write(
        tmp_path / "t.jsonl",
        b"\xef\xbb\xbf" + json.dumps(message(1)).encode(),
        b"",
        b"{",
        other,
        b'"' + b"x" * (17 * 2**20),
        message(4, text=[]),
        message(5),
    )
    file = scanned(path)
    assert (file.messages, file.threads) == (3, ("thread_1", "thread_2"))
    assert [one.id for one in file.of_thread("thread_1")] == ["msg_1", "msg_5"]
    assert [one.id for one in file.of_thread("thread_2")] == ["msg_2"]
    assert [remark.path for remark in file.failed] == ["line 3", "line 5"]
    assert "MiB" in file.failed[1].reason
    assert [remark.path for remark in file.skipped] == ["line 6"]
    write(path, other, other, other, other)
    with pytest.raises(Invalid, match="was changed"):
        file.of_thread("thread_1")


def test_of_many_bad_lines_some_are_told_and_all_are_counted(tmp_path: Path) -> None:
    file = scanned(write(tmp_path / "t.jsonl", *[b"{"] * 250, message(1)))
    assert (len(file.failed), file.unreadable) == (100, 250)
    with pytest.raises(Invalid, match="no message"):
        scanned(write(tmp_path / "none.jsonl", b"{"))


def export(tmp_path: Path, **given: Any) -> Path:
    """Write an exported assistant."""
    path = tmp_path / "assistant.json"
    path.write_text(json.dumps({"id": "asst_1", "object": "assistant", **given}))
    return path


def test_an_assistant_is_read(tmp_path: Path) -> None:
    tools = [{"type": "retrieval"}, {"type": "code_interpreter"}, {"type": "function", "function": {"name": "weather"}}]
    read = read_export(
        export(
            tmp_path,
            name="Bia",
            instructions="Use {{ braces }}.",
            model="gpt-4-1106-preview",
            temperature=0.5,
            top_p=0.9,
            tools=tools,
            file_ids=["file-1"],
            tool_resources={"file_search": {"vector_store_ids": ["vs_1"]}},
            files=["a.pdf", {"id": "file-2", "filename": "b.pdf"}],
            file_names=["a.pdf"],
        )
    )
    assert (read.name, read.model, read.temperature) == ("Bia", "gpt-4-1106-preview", 0.5)
    assert render(read.prompt, _VALUES) == "Use {{ braces }}."
    assert (read.files, read.file_ids) == (("a.pdf", "b.pdf"), ("file-1", "vs_1"))
    assert len(read.lost) == 3 and "'weather'" in read.lost[1]
    bare = read_export(export(tmp_path, name=None, instructions=None, tool_resources=None))
    assert (bare.name, bare.prompt, bare.model, bare.lost) == ("asst_1", "", None, ())


@pytest.mark.parametrize(
    "given",
    [
        {"object": "list", "data": []},
        {"name": 7},
        {"instructions": ["x"]},
        {"temperature": "hot"},
        {"instructions": "x" * 100_001},
        {"temperature": 3},
        {"files": "a.pdf"},
        {"files": [{"id": "file-1"}]},
        {"file_ids": "file-1"},
        {"tools": [7]},
        {"tool_resources": ["vs_1"]},
    ],
)
def test_what_is_no_assistant_is_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read_export(export(tmp_path, **given))


def test_ids_of_another_time_sort_by_it() -> None:
    early, late = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), now() - timedelta(seconds=1)
    first = id_at(early)
    ids = [first, id_at(early, after=first), id_at(early + timedelta(milliseconds=1)), id_at(late), new_id()]
    assert ids == sorted(ids) and all(is_id(one) for one in ids)
    assert int(first[:8], 16) == 1_700_000_000
    assert id_at(early, after=ids[3]) > ids[3]
