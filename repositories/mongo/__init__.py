"""MongoDB, through pymongo: the fleet's store."""
