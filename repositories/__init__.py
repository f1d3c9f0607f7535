"""The stores behind the ports."""
