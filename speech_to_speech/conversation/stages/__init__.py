"""The steps of a turn: each maps the conversation to requests of one model."""
