"""Tools: what a model may call, where it comes from, and how its calls are made."""
