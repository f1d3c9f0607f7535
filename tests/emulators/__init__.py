"""Servers that stand in for providers in the tests."""
