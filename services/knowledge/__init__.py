"""Parsing, cutting, indexing and finding what documents say."""
