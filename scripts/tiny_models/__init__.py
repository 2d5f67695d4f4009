"""How the tiny models of `tiny_models/` are made; run `scripts/make_tiny_models.py`."""
