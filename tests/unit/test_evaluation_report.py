"""Reports stand alone, and what people wrote is text in them."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from models.assistants import Assistant
from models.chats import Timings, Tokens
from models.evaluations import DatasetItem, Metric, Result, ResultStatus, Run
from models.given import Turn
from models.ids import new_id
from services.evaluation.report import ReportRenderer
from services.evaluation.summaries import compared, summarised

AT = datetime(2026, 11, 21, tzinfo=UTC)
EVIL = "</dd></details></style><script>alert('x')</script><img src=x onerror=alert(1)> https://evil.example/a"


class OneAssistant:
    """Know one assistant, whose name is not to be trusted either."""

    def get(self, assistant_id: str) -> Assistant | None:
        """Return it."""
        return Assistant(assistant_id, EVIL, "o", (), AT, AT)


class Tags(HTMLParser):
    """Collect the elements, and the attributes that fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element."""
        self.tags.add(tag)
        self.attributes += attrs


def run() -> Run:
    return Run(new_id(), new_id(), 3, 1, EVIL, "0", tuple(Metric), 3, AT, judge_model=EVIL)


def results() -> list[Result]:
    item = DatasetItem(
        EVIL, EVIL, EVIL, (EVIL,), (EVIL,), EVIL, (Turn(EVIL, EVIL), Turn(EVIL, None)), language="pt", tags=(EVIL, "ok")
    )
    done = Result(
        new_id(), "r", "a", 0, item, ResultStatus.DONE, EVIL, (EVIL,), {"contains": 0.5, "judge": 1.0}, EVIL, EVIL,
        Tokens(1000, 20), Tokens(5, 5), Timings(total_ms=1200),
    )  # fmt: skip
    other = replace(item, id="2")
    failed = replace(
        done, id=new_id(), position=1, item=other, status=ResultStatus.FAILED, scores={}, answer=None, error=EVIL
    )
    return [done, failed, Result(new_id(), "r", "a", 2, DatasetItem("3", "waits", documents=()))]


def stands_alone(page: str) -> Tags:
    """Check that a page runs nothing and fetches nothing, and return its elements."""
    tags = Tags()
    tags.feed(page)
    assert not tags.tags & {"script", "img", "iframe", "link", "object", "embed", "base", "form", "audio", "video"}
    names = {name for name, _ in tags.attributes}
    assert not [name for name in names if name.startswith("on") or name in {"src", "href", "xlink:href", "action"}]
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    without_text = page.replace("https://evil.example/a", "")
    assert "://" not in without_text, "no remote address"
    return tags


def test_a_run_is_a_page_that_stands_alone() -> None:
    found = results()
    page = ReportRenderer(OneAssistant()).of_run(replace(run(), summary=summarised(found)), found)  # type: ignore[arg-type]
    tags = stands_alone(page)
    assert "svg" in tags.tags
    assert page.count("<svg") == 4, "scores, tags, time, tokens"
    assert page.count("<details>") == 3
    assert "&lt;script&gt;" in page and "<script>" not in page


def test_a_run_without_answers_is_a_page_too() -> None:
    waiting = results()[2:]
    page = ReportRenderer(OneAssistant()).of_run(replace(run(), summary=summarised(waiting)), waiting)  # type: ignore[arg-type]
    stands_alone(page)
    assert "<svg" not in page and "none may be cited" in page


def test_a_comparison_is_a_page_that_stands_alone() -> None:
    before, after = results(), [replace(one, scores={"contains": 0.0, "judge": 1.0}) for one in results()[:1]]
    page = ReportRenderer(OneAssistant()).of_comparison(compared(run(), before, run(), after))  # type: ignore[arg-type]
    stands_alone(page)
    assert page.count("<svg") == 2 and "Worse: 1" in page and "Better: 0" in page


def test_the_same_run_gives_the_same_page() -> None:
    found, one = results(), run()
    pages = {ReportRenderer(OneAssistant()).of_run(replace(one, summary=summarised(found)), found) for _ in range(2)}  # type: ignore[arg-type]
    assert len(pages) == 1
