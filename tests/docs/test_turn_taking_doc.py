"""docs/turn-taking.md against the settings."""

import dataclasses
import re
from pathlib import Path

from speech_to_speech.config.settings import NAMES, Settings

DOC = (Path(__file__).parents[2] / "docs" / "turn-taking.md").read_text()
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}


def test_the_table_of_settings_has_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", DOC, re.MULTILINE)
    documented = {name: default.strip("`") for name, default in rows}
    assert documented.pop("partial_interval_ms") == "the backend's"
    assert DEFAULTS["partial_interval_ms"] is None
    assert len(documented) >= 10
    assert documented == {
        name: f"{value:g}" if isinstance(value := DEFAULTS[name], float) else str(value).lower() for name in documented
    }


def test_every_setting_of_turn_taking_is_in_the_page() -> None:
    ours = {name for name in NAMES if re.match(r"soft_end|speculation|turn$|endpoint_|barge_in|echo_|partial_", name)}
    assert len(ours) == 10
    assert {name for name in ours if f"`{name}`" not in DOC} == set()


def test_the_files_it_names_exist() -> None:
    named = re.findall(r"`(speech_to_speech/[\w/]+\.py)`", DOC)
    assert named
    assert [path for path in named if not (Path(__file__).parents[2] / path).is_file()] == []
