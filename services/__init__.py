"""Use cases. They know the ports in `services/ports.py` and the models, never Flask or a driver."""
