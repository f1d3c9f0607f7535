"""Commands that run the real server: the demo and the measurements."""
