"""SQLite in WAL mode: the store of one machine."""
