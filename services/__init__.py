"""Use cases. They know the ports in `services/ports/` and the models, never Flask or a driver."""
