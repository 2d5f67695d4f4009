"""What a language model backend is."""

from typing import ClassVar, Protocol

from speech_to_speech.frames import ChatRequest, ToolCall
from speech_to_speech.workers.model import Model


class LanguageModel(Model[ChatRequest, str | ToolCall], Protocol):
    """Emits the answer of each job as text deltas, each as soon as it is there, and the tools that it asks for.

    It honours each request's `sampling` as far as it can. `max_tokens` never makes an answer longer than its options
    allow: those are the operator's.
    """

    languages: ClassVar[frozenset[str] | None]
    """The ISO 639 codes of the languages that the model answers in. None, or no such attribute, means any language."""
