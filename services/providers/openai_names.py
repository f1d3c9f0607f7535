"""What the providers of OpenAI's API are called in settings and records; known without loading its SDK."""

CHAT = "openai_chat"
RESPONSES = "openai"
