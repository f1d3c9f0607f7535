"""/conversations: reading, watching, exporting and erasing them."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response, jsonify

from models.conversations import Conversation
from models.errors import OrquestraError
from models.paging import Page
from routes.access import caller, login_check, services, signed_in
from routes.errors import problem
from routes.paging import page_headers
from routes.parsing import Blueprint
from routes.requests import request_id
from routes.room import in_room
from routes.schemas.base import PageQuery
from routes.schemas.conversations import ConversationQuery, ConversationSchema, ExportQuery, MessageSchema
from routes.streaming import PING, event_stream, frame
from services.news import News
from services.viewer import Message, messages_of

blueprint = Blueprint(
    "conversations", __name__, url_prefix="/conversations", description="Whole conversations, for the viewer"
)


@blueprint.get("/list")
@signed_in
@blueprint.arguments(ConversationQuery, location="query")
@blueprint.response(200, ConversationSchema(many=True))
def list_(query: dict[str, Any]) -> Any:
    """List conversations, the last written in first."""
    listing = services().viewer.list(caller(), query["assistant_id"], query["page"])
    return listing.items, page_headers(listing, query["page"])


@blueprint.get("/messages/<conversation_id>")
@signed_in
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, MessageSchema(many=True))
def messages(query: dict[str, Page], conversation_id: str) -> Any:
    """List what was said, oldest first; limit and after count in chats, of which each has several messages."""
    listing = services().viewer.chats(caller(), conversation_id, query["page"])
    said = [message for chat in listing.items for message in messages_of(chat)]
    return said, page_headers(listing, query["page"])


@blueprint.get("/events")
@signed_in
@blueprint.response(200, description="text/event-stream of conversation_new, _updated and _deleted")
@in_room()
def events() -> Response:
    """Watch conversations live."""
    news = services().viewer.watch(caller(), login_check())
    first = next(news)
    return event_stream(_frames(first, news, request_id()))


@blueprint.get("/export/<conversation_id>")
@signed_in
@blueprint.arguments(ExportQuery, location="query")
@blueprint.response(200, description="the conversation as JSON, Markdown or CSV, as attachment")
def export(query: dict[str, str], conversation_id: str) -> Response:
    """Download a whole conversation."""
    conversation, said = services().viewer.export(caller(), conversation_id)
    response = _EXPORTS[query["format"]](conversation, said)
    response.headers["Content-Disposition"] = f'attachment; filename="{conversation.id}.{query["format"]}"'
    return response


@blueprint.delete("/delete/<conversation_id>")
@signed_in
@blueprint.response(204)
def delete(conversation_id: str) -> None:
    """Erase a conversation and everything that was said in it."""
    services().viewer.erase(caller(), conversation_id)


def _frames(first: News | None, news: Iterator[News | None], this_request: str) -> Iterator[bytes]:
    """Turn news into SSE frames; silence is a ping, and the end of the login is the end of the stream."""
    try:
        yield _frame(first)
        for one in news:
            yield _frame(one)
    except OrquestraError as error:
        yield frame("error", problem(error, this_request))


def _frame(news: News | None) -> bytes:
    if news is None:
        return PING
    if news.conversation is None:
        return frame(news.kind, {"type": news.kind, "conversation_id": news.conversation_id})
    shown = ConversationSchema().dump(news.conversation)
    return frame(news.kind, {"type": news.kind, "conversation": shown})


def _as_json(conversation: Conversation, said: Sequence[Message]) -> Response:
    return jsonify({**ConversationSchema().dump(conversation), "messages": MessageSchema(many=True).dump(said)})


def _as_markdown(conversation: Conversation, said: Sequence[Message]) -> Response:
    channel = conversation.channel
    lines = [f"# {channel.message_service} {channel.id}", ""]
    for message in MessageSchema(many=True).dump(said):
        name = f" {message['tool']['name']}" if message["tool"] else ""
        lines += [f"**{message['role']}**{name} {message['createdAt']}", "", message["content"], ""]
    return Response("\n".join(lines), content_type="text/markdown; charset=utf-8")


def _as_csv(_conversation: Conversation, said: Sequence[Message]) -> Response:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["createdAt", "role", "content", "chat_id", "tool"])
    for message in MessageSchema(many=True).dump(said):
        tool = _inert(message["tool"]["name"]) if message["tool"] else ""
        writer.writerow([message["createdAt"], message["role"], _inert(message["content"]), message["chat_id"], tool])
    return Response(table.getvalue(), content_type="text/csv; charset=utf-8")


def _inert(text: str) -> str:
    """Keep a spreadsheet from running a message as a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


_EXPORTS = {"json": _as_json, "md": _as_markdown, "csv": _as_csv}
