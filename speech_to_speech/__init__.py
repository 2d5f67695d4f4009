"""Speech to speech: a person speaks and hears a spoken answer.

These names are for those who add a backend of their own; they stay where they are, whatever moves inside. Importing
the package loads none of them, so that a model's process, in an environment of its own, has only what it asks for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speech_to_speech.config.registry import register_model
    from speech_to_speech.errors import CheckpointError, SettingsError, SpeechToSpeechError, StageError, StageFailed
    from speech_to_speech.frames import (
        AudioChunk,
        ChatRequest,
        Message,
        Sampling,
        SpeakRequest,
        SpeechRequest,
        ToolCall,
        Transcript,
        WordStart,
    )
    from speech_to_speech.llm.base import LanguageModel
    from speech_to_speech.stt.base import SpeechToText
    from speech_to_speech.tts.base import TextToSpeech
    from speech_to_speech.turn.base import TurnDetector, TurnRequest
    from speech_to_speech.vad.base import VadRequest, VadResult, VoiceActivityDetector
    from speech_to_speech.weights.downloads import Download
    from speech_to_speech.workers.model import ContinuousModel, Job, Model

__all__ = [
    "AudioChunk",
    "ChatRequest",
    "CheckpointError",
    "ContinuousModel",
    "Download",
    "Job",
    "LanguageModel",
    "Message",
    "Model",
    "Sampling",
    "SettingsError",
    "SpeakRequest",
    "SpeechRequest",
    "SpeechToSpeechError",
    "SpeechToText",
    "StageError",
    "StageFailed",
    "TextToSpeech",
    "ToolCall",
    "Transcript",
    "TurnDetector",
    "TurnRequest",
    "VadRequest",
    "VadResult",
    "VoiceActivityDetector",
    "WordStart",
    "register_model",
]

_HOMES = {
    "config.registry": ("register_model",),
    "errors": ("CheckpointError", "SettingsError", "SpeechToSpeechError", "StageError", "StageFailed"),
    "llm.base": ("LanguageModel",),
    "stt.base": ("SpeechToText",),
    "tts.base": ("TextToSpeech",),
    "turn.base": ("TurnDetector", "TurnRequest"),
    "vad.base": ("VadRequest", "VadResult", "VoiceActivityDetector"),
    "weights.downloads": ("Download",),
    "workers.model": ("ContinuousModel", "Job", "Model"),
}
"""The modules of these names; those of all others are `frames`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "frames")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
