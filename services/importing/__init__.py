"""What the commands of `commands.py` bring in: folders of documents, and assistants exported from elsewhere."""
