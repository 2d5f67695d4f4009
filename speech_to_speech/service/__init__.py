"""The service: models built from settings, sessions counted and drained, routes and the server."""
