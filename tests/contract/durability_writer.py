"""A process that stores chats until it is killed or has stored enough, and prints the id of each one it stored."""

import sys
from contextlib import closing
from pathlib import Path

from models.chats import ChatStatus
from repositories.sqlite.chats import SqliteChatRepository
from repositories.sqlite.conversations import SqliteConversationRepository
from repositories.sqlite.database import SqliteDatabase
from tests.contract.stores import NOW, make_chat


def main() -> None:
    """Run as `python -m tests.contract.durability_writer FILE ASSISTANT CONVERSATION COUNT`."""
    path, assistant_id, conversation_id, count = sys.argv[1:]
    with closing(SqliteDatabase(Path(path))) as database:
        chats, conversations = SqliteChatRepository(database), SqliteConversationRepository(database)
        for _ in range(int(count)):
            chat = make_chat(assistant_id, "", message="x" * 500, status=ChatStatus.RECEIVED)
            assert chats.add(chat)
            conversations.record_message(conversation_id, "m", NOW)
            sys.stdout.write(f"{chat.id}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
