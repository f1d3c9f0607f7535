"""HTTP only: a blueprint a file."""
