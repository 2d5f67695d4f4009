"""A module for `--models` that makes PyAV look as if it were not installed."""

import sys

sys.modules["av"] = None  # type: ignore[assignment]
