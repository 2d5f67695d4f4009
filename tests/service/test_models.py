"""What the composition root makes of the settings."""

import dataclasses
from typing import Any

import pytest

from speech_to_speech.config.settings import Settings, load_settings
from speech_to_speech.conversation.client import Playback
from speech_to_speech.conversation.endpointing import EndpointOptions
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.options import Limits, SessionOptions, TurnDetection
from speech_to_speech.service.models import Models, playback, session_options

SOFT_END_MS = 96


def load(*flags: str) -> Settings:
    return load_settings([*flags], {})


def test_the_defaults_of_a_session_are_those_of_the_settings() -> None:
    made = session_options(load())
    expected = SessionOptions(
        prompt=made.prompt, turn_detection=TurnDetection(endpointing=EndpointOptions(soft_end_ms=SOFT_END_MS))
    )
    assert made == expected
    assert made.prompt


def test_the_defaults_of_playback_are_those_of_the_settings() -> None:
    assert playback(load()) == Playback(echoes=True)


# A setting, a value that is not its default, and where it ends up.
HANDED_ON: list[tuple[str, Any, str]] = [
    ("init_chat_prompt", "Be kind.", "prompt"),
    ("chat_size", 7, "chat_size"),
    ("greeting", "Hello!", "greeting"),
    ("language", "fr", "language"),
    ("partial_interval_ms", 300.0, "partial_interval_ms"),
    ("thresh", 0.5, "turn_detection.endpointing.thresh"),
    ("min_silence_ms", 300.0, "turn_detection.endpointing.min_silence_ms"),
    ("soft_end_ms", 64.0, "turn_detection.endpointing.soft_end_ms"),
    ("min_speech_ms", 400.0, "turn_detection.endpointing.min_speech_ms"),
    ("max_speech_ms", float("inf"), "turn_detection.endpointing.max_speech_ms"),
    ("max_utterance_s", 60.0, "turn_detection.endpointing.max_utterance_s"),
    ("speech_pad_ms", 200.0, "turn_detection.endpointing.speech_pad_ms"),
    ("endpoint_min_ms", 150.0, "turn_detection.endpoint_min_ms"),
    ("endpoint_max_ms", 900.0, "turn_detection.endpoint_max_ms"),
    ("speculation", "off", "turn_detection.speculation"),
    ("barge_in_pause_ms", 100.0, "turn_detection.barge_in_pause_ms"),
    ("barge_in_ms", 450.0, "turn_detection.barge_in_ms"),
    ("barge_in_max_ms", 1100.0, "turn_detection.barge_in_max_ms"),
    ("idle_timeout_s", 11.0, "limits.idle_timeout_s"),
    ("session_timeout_s", 12.0, "limits.session_timeout_s"),
    ("send_timeout_s", 13.0, "limits.send_timeout_s"),
    ("max_reply_s", 14.0, "limits.max_reply_s"),
]


@pytest.mark.parametrize(("name", "value", "place"), HANDED_ON, ids=[name for name, _, _ in HANDED_ON])
def test_a_setting_is_handed_on(name: str, value: Any, place: str) -> None:
    flags = ["--stt=loadtest", "--llm=loadtest", f"--{name}={value}"]
    made: Any = session_options(load(*flags))
    for part in place.split("."):
        made = getattr(made, part)
    assert made == value


def test_every_option_of_a_session_is_made_from_a_setting_or_is_the_backends_own() -> None:
    def leaves(kind: Any, prefix: str = "") -> set[str]:
        parts = {"turn_detection": TurnDetection, "endpointing": EndpointOptions, "limits": Limits}
        found: set[str] = set()
        for field in dataclasses.fields(kind):
            name = f"{prefix}{field.name}"
            found |= leaves(parts[field.name], f"{name}.") if field.name in parts else {name}
        return found

    not_settings = {"voice", "sampling", "turn_detection.endpointing.progress_ms"}
    assert leaves(SessionOptions) - not_settings == {place for _, _, place in HANDED_ON}


@pytest.mark.parametrize(("flags", "stages"), [((), 5), (("--turn=none",), 4)])
def test_each_stage_has_a_worker_and_the_pipeline_has_them_all(flags: tuple[str, ...], stages: int) -> None:
    models = Models(load("--profile=loadtest", "--turn=rules", *flags), Metrics())
    assert len(models.workers) == len(models.loading) == stages
    parts = (models.pipeline.vad, models.pipeline.turn, models.pipeline.stt, models.pipeline.llm, models.pipeline.tts)
    assert [part.worker for part in parts if part is not None] == [
        models.workers[stage] for stage in ("vad", "turn", "stt", "llm", "tts") if stage in models.workers
    ]
