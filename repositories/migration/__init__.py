"""Moving an embedded store into MongoDB, once."""
