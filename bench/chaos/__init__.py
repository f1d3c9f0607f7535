"""`make chaos`: exactly one answer, in order, whatever breaks; `__main__.py` runs it."""
