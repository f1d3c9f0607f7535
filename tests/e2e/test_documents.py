"""/documents over HTTP."""

import threading
from io import BytesIO

import pytest
from openpyxl import Workbook
from reportlab.pdfgen.canvas import Canvas

from tests.e2e.api import Api

POLICY = """# Férias

Cada pessoa tem 30 dias de férias por ano.

## Pedido

O pedido é feito com 45 dias de antecedência.
"""


def test_a_document_is_stored_listed_downloaded_and_deleted(user: Api) -> None:
    assistant = user.new_assistant()
    made = user.upload(assistant, "férias.md", POLICY)
    assert made.status_code == 201
    document = made.json()
    assert made.headers["Location"] == f"/documents/get/{document['_id']}"
    assert document["filepath"] == f"documents/{assistant['_id']}/knowledge/férias.md"
    assert (document["status"], document["type"], document["size"]) == ("ready", "rag", len(POLICY.encode()))
    assert document["passages"] >= 2
    assert user.get(f"/documents/get/{document['_id']}").json() == document
    listed = user.get(f"/documents/list?assistant_id={assistant['_id']}&type=RAG").json()
    assert listed == [{**document, "drift": None}]
    assert user.get(f"/documents/list?assistant_id={assistant['_id']}&type=prompt").json() == []
    for method in ("GET", "PUT"):
        assert user.request(method, f"/documents/path/get/{document['_id']}").json() == {"path": document["filepath"]}
    download = user.get(f"/documents/download/{document['_id']}")
    assert download.content == POLICY.encode()
    assert download.headers["Content-Disposition"].startswith("attachment")
    assert download.headers["Content-Length"] == str(len(POLICY.encode()))
    assert user.delete(f"/documents/delete/{document['_id']}").status_code == 204
    assert user.get(f"/documents/get/{document['_id']}").status_code == 404
    assert user.post("/documents/search", json={"assistant_id": assistant["_id"], "query": "férias"}).json() == []


def test_the_same_name_replaces_the_document(user: Api) -> None:
    assistant = user.new_assistant()
    first = user.upload(assistant, "a.md", "# Prazo\n\nO prazo é de dez dias.").json()
    second = user.upload(assistant, "a.md", "# Prazo\n\nO prazo é de vinte dias.").json()
    assert second["_id"] == first["_id"]
    assert second["sha256"] != first["sha256"]
    assert len(user.get(f"/documents/list?assistant_id={assistant['_id']}").json()) == 1
    found = user.post("/documents/search", json={"assistant_id": assistant["_id"], "query": "prazo"}).json()
    assert ["vinte" in one["passage"] for one in found] == [True]
    assert "vinte" in user.get(f"/documents/download/{first['_id']}").text


def test_a_prompt_is_stored_under_its_own_name(user: Api) -> None:
    assistant = user.new_assistant()
    prompt = user.upload(assistant, "anything.md", "Answer like a pirate.", type="PROMPT").json()
    assert prompt["filepath"] == f"documents/{assistant['_id']}/prompt.txt"
    assert prompt["type"] == "prompt"
    assert user.post("/documents/search", json={"assistant_id": assistant["_id"], "query": "pirate"}).json() == []


def test_search_finds_across_case_accents_and_inflection_with_exact_offsets(user: Api) -> None:
    assistant = user.new_assistant()
    user.upload(assistant, "ferias.md", POLICY)
    user.upload(assistant, "leave.txt", "Employees may carry over five unused vacation days into March.")
    user.upload(assistant, "假期.html", "<h1>年假</h1><p>员工每年享有十五天带薪年假。</p>")
    for query, expected in (("FERIAS", "30 dias"), ("vacations", "carry over"), ("年假有几天", "十五天")):
        found = user.post(
            "/documents/search", json={"assistant_id": assistant["_id"], "query": query, "limit": 3}
        ).json()
        assert expected in found[0]["passage"], query
        assert found[0]["score"] >= found[-1]["score"]
    found = user.post("/documents/search", json={"assistant_id": assistant["_id"], "query": "antecedência"}).json()[0]
    assert POLICY[found["start"] : found["end"]] == found["passage"]
    assert found["headings"] == ["Férias", "Pedido"]


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("a.exe", b"MZ", 415),
        ("noextension", b"text", 415),
        ("empty.md", b"", 422),
        ("blank.txt", b" \n\t ", 422),
        ("binary.txt", b"\x00\x01\x02\x03" * 50, 422),
        ("large.txt", b"a" * (2**20 + 1), 413),
        ("broken.pdf", b"%PDF-1.7\nand then nothing", 422),
        ("renamed.docx", b"MZ\x90\x00" * 100, 422),
        ("old.doc", bytes.fromhex("d0cf11e0a1b11ae1") * 64, 415),
        ("broken.json", b'{"a": ', 422),
        ("bad template.txt", b"{{ nobody }}", 422),
    ],
)
def test_what_cannot_be_read_leaves_nothing(user: Api, name: str, content: bytes, status: int) -> None:
    assistant = user.new_assistant()
    refused = user.upload(assistant, name, content, type="prompt" if "template" in name else "rag")
    assert refused.status_code == status, refused.text
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert user.get(f"/documents/list?assistant_id={assistant['_id']}").json() == []


def test_a_refused_replacement_leaves_the_old_one(user: Api) -> None:
    assistant = user.new_assistant()
    document = user.upload(assistant, "a.md", POLICY).json()
    assert user.upload(assistant, "a.md", b"\x00\x00").status_code == 422
    assert user.get(f"/documents/get/{document['_id']}").json() == document
    assert user.get(f"/documents/download/{document['_id']}").content == POLICY.encode()


def test_a_name_never_leaves_the_folder(user: Api) -> None:
    assistant = user.new_assistant()
    for name in ("../../escape.md", "..\\..\\escape2.md", "/etc/escape3.md", "a/b/../../../escape4.md", "....//x.md"):
        made = user.upload(assistant, name, "Some text to keep.")
        assert made.status_code in {201, 422}, name
        if made.status_code == 201:
            path = made.json()["filepath"]
            assert path.startswith(f"documents/{assistant['_id']}/knowledge/")
            assert "/" not in made.json()["filename"] and ".." not in path.split("/")


def test_missing_parts_of_an_upload_are_named(user: Api) -> None:
    assistant = user.new_assistant()
    file = {"file": ("a.md", b"text")}
    for form, files in (({"type": "rag"}, file), ({"assistant_id": assistant["_id"]}, file)):
        assert user.post("/documents/add", data=form, files=files).status_code == 422
    assert user.post("/documents/add", data={"type": "rag", "assistant_id": assistant["_id"]}).status_code == 422
    wrong = user.post("/documents/add", data={"type": "song", "assistant_id": assistant["_id"]}, files=file)
    assert set(wrong.json()["errors"]) == {"type"}
    for nothing in ({"file": (None, b"text")}, {"file": ("", b"text")}):
        chosen = user.post("/documents/add", data={"type": "rag", "assistant_id": assistant["_id"]}, files=nothing)
        assert chosen.status_code == 422, chosen.text
    broken = {"Content-Type": "multipart/form-data; boundary=B"}
    assert user.post("/documents/add", content=b"garbage", headers=broken).status_code == 400
    form = {"assistant_id": assistant["_id"], "type": "rag"}
    twice = user.post("/documents/add", data=form, files=[("file", ("a.md", b"a")), ("file", ("b.md", b"b"))])
    assert (twice.status_code, set(twice.json()["errors"])) == (422, {"file"})


def test_uploads_of_one_name_at_once_end_in_one_whole_document(user: Api) -> None:
    assistant = user.new_assistant()
    texts = [f"# Versão\n\nEsta é a versão número {number} do texto." for number in range(6)]
    statuses: list[int] = []

    def upload(text: str) -> None:
        statuses.append(user.upload(assistant, "same.md", text).status_code)

    threads = [threading.Thread(target=upload, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 6
    listed = user.get(f"/documents/list?assistant_id={assistant['_id']}").json()
    assert len(listed) == 1
    stored = user.get(f"/documents/download/{listed[0]['_id']}").text
    found = user.post("/documents/search", json={"assistant_id": assistant["_id"], "query": "versão número"}).json()
    assert [one["passage"].strip() in stored for one in found] == [True]


def test_reindexing_reads_the_file_again(user: Api) -> None:
    assistant = user.new_assistant()
    document = user.upload(assistant, "a.md", POLICY).json()
    again = user.post(f"/documents/reindex/{document['_id']}")
    assert again.status_code == 200
    assert again.json()["passages"] == document["passages"]


def workbook() -> bytes:
    """Return an xlsx file with a sheet of prices."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Preços"
    for row in (["Produto", "Preço"], ["Parafuso M8", 1250], ["Porca M8", 740]):
        sheet.append(row)
    target = BytesIO()
    book.save(target)
    return target.getvalue()


def pages() -> bytes:
    """Return a pdf of three pages."""
    target = BytesIO()
    canvas = Canvas(target)
    for number, text in enumerate(("Introduction", "The warranty lasts 36 months.", "Returns within 14 days."), 1):
        canvas.drawString(72, 720, f"Chapter {number}. {text}")
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def test_formats_are_read_and_citations_carry_the_page(user: Api) -> None:
    assistant = user.new_assistant()
    files: dict[str, tuple[bytes | str, str, str]] = {
        "preços.xlsx": (workbook(), "Quanto custa o parafuso M8?", "1250"),
        "manual.pdf": (pages(), "How long does the warranty last?", "36 months"),
        "stock.csv": ("article;stock\nwidget;17\ngadget;4\n", "stock of gadget", "4"),
        "staff.json": ('[{"name": "Zoë", "extension": 4711}]', "extension of Zoë", "4711"),
        "latin.txt": ("A devolução é possível até 15 dias.".encode("latin-1"), "devolução", "15 dias"),
        "gbk.txt": ("仓库的开放时间是早上八点到下午六点。".encode("gbk"), "仓库什么时候开放", "八点"),
    }
    for name, (content, query, expected) in files.items():
        made = user.upload(assistant, name, content)
        assert (made.status_code, made.json().get("status")) == (201, "ready"), made.text
        found = user.post("/documents/search", json={"assistant_id": assistant["_id"], "query": query}).json()[0]
        assert (found["filename"], expected in found["passage"]) == (name, True), found
        text = user.get(f"/documents/text/{made.json()['_id']}").text
        assert text[found["start"] : found["end"]] == found["passage"]
        assert found["page"] == (2 if name == "manual.pdf" else None)
    (citation,) = user.say(assistant, "How long does the warranty last?").json()["citations"]
    assert (citation["filename"], citation["page"]) == ("manual.pdf", 2)


def test_versions_are_listed_and_restored(user: Api) -> None:
    assistant = user.new_assistant()
    document = user.upload(assistant, "a.md", "# Prazo\n\nO prazo é de dez dias.").json()
    user.upload(assistant, "a.md", "# Prazo\n\nO prazo é de vinte dias.")
    versions = user.get(f"/documents/versions/{document['_id']}").json()
    assert [set(one) for one in versions] == [{"revision", "size", "sha256", "createdAt"}] * 2
    assert versions[1]["sha256"] == document["sha256"]
    restored = user.post(f"/documents/restore/{document['_id']}", json={"revision": versions[1]["revision"]})
    assert (restored.status_code, restored.json()["sha256"]) == (200, document["sha256"])
    query = {"assistant_id": assistant["_id"], "query": "prazo"}
    assert "dez dias" in user.post("/documents/search", json=query).json()[0]["passage"]
    unknown = user.post(f"/documents/restore/{document['_id']}", json={"revision": "0" * 24})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no_version")


def test_a_prompt_is_a_template(user: Api) -> None:
    assistant = user.new_assistant()
    refused = user.upload(assistant, "prompt.txt", "Hello\n{{ user_name }}", type="prompt")
    assert (refused.status_code, refused.json()["code"]) == (422, "template_error")
    assert "line 2" in refused.json()["errors"]["file"][0]
    assert user.upload(assistant, "prompt.txt", "Today is {{ today }}.", type="prompt").status_code == 201
