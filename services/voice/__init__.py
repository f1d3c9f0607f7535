"""Speech in both directions: recordings become messages, answers are spoken while they are written."""
