"""Frozen dataclasses and errors that every layer may use; nothing of ours is imported here."""
