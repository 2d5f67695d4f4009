"""docs/configuration.md against the settings."""

import dataclasses
import re
from pathlib import Path

from speech_to_speech.config.aliases import FLAGS, MODELS, PLAIN, PRESETS
from speech_to_speech.config.settings import NAMES, TOKEN_VARIABLE, Settings

DOC = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
BOUNDS = DOC.partition("## Bounds")[2].partition("\n## ")[0]
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}


def test_the_bounds_have_their_defaults() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", BOUNDS, re.MULTILINE))
    assert documented.pop("worker_memory_gb") == "half of the machine's"
    assert DEFAULTS["worker_memory_gb"] is None
    assert documented == {name: f"{DEFAULTS[name]:.10g}" for name in documented}


def test_every_bound_is_in_the_page() -> None:
    bounds = {name for name in NAMES if re.search(r"^max_|_timeout_s$|(?<!batch)_limit$|^min_speech|_memory_gb$", name)}
    assert len(bounds) == 18
    assert {name for name in bounds if f"`{name}`" not in BOUNDS} == set()


def test_other_names_of_settings_are_in_the_page() -> None:
    names = {TOKEN_VARIABLE, *PLAIN, *MODELS, *PRESETS, *(f"--{flag}" for flag in FLAGS)}
    assert {name for name in names if f"`{name}`" not in DOC} == set()
