"""A process that sends one callback, to be killed by its receiver.

Run as `python -m tests.contract.callback_victim STORE DATABASE CHAT_ID`: STORE is the embedded store's file, or a URI.
"""

import sys
from pathlib import Path

from repositories.mongo.database import MongoDatabase
from repositories.sqlite.database import SqliteDatabase
from stores import repositories_of
from tests.contract.engine import Asked
from tests.contract.post_office import Destinations, callback_service


def main() -> None:
    """Send it."""
    store, name, chat_id = sys.argv[1:]
    database = MongoDatabase(store, name) if "://" in store else SqliteDatabase(Path(store))
    callback_service(repositories_of(database), Asked(), Destinations()).send(chat_id)


if __name__ == "__main__":
    main()
