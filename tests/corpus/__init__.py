"""Documents of every format, in three languages, and hostile ones, built when a test needs them."""
