"""Redis or Valkey, through redis-py: sessions, locks, rate limits, events."""
