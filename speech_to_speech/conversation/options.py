"""What is agreed with a client for one session, and may change while it lives."""

from dataclasses import dataclass, field
from typing import Literal

from speech_to_speech.conversation.endpointing import EndpointOptions
from speech_to_speech.frames import Sampling

Speculation = Literal["off", "stt", "full"]


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """When an utterance ends by itself, and what of it interrupts a reply. All times are in milliseconds.

    endpoint_min_ms, endpoint_max_ms: the endpoint wait after what a turn detector holds for complete, and for a pause.
    speculation: work before the endpoint: none, speech to text only, or all of it.
    barge_in_pause_ms: so much speech over a reply pauses it.
    barge_in_ms: after so much, words that are no backchannel interrupt it in mid-speech.
    barge_in_max_ms: so much speech interrupts it, whatever the words.
    """

    endpointing: EndpointOptions = field(default_factory=EndpointOptions)
    endpoint_min_ms: float = 200.0
    endpoint_max_ms: float = 1000.0
    speculation: Speculation = "full"
    barge_in_pause_ms: float = 128.0
    barge_in_ms: float = 500.0
    barge_in_max_ms: float = 1000.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a session ends by itself, in seconds, and how long a reply may be."""

    idle_timeout_s: float = 120.0
    session_timeout_s: float = 3600.0
    send_timeout_s: float = 10.0
    max_reply_s: float = 120.0


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a conversation is held.

    prompt: the system prompt.
    chat_size: how many exchanges the language model is shown.
    greeting: said before anybody has spoken; empty: nothing is.
    language: an ISO 639 code, or `auto`: the one heard.
    voice: one of the chosen TTS's names; empty: its own for the language.
    sampling: how the language model's words are chosen.
    turn_detection: None: push to talk; `commit` ends an utterance, and nothing else interrupts a reply but `cancel`.
    partial_interval_ms: how often an utterance is transcribed while it is spoken; 0: never.
    """

    prompt: str = ""
    chat_size: int = 2
    greeting: str = ""
    language: str = "en"
    voice: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    turn_detection: TurnDetection | None = field(default_factory=TurnDetection)
    partial_interval_ms: float = 0.0
    limits: Limits = field(default_factory=Limits)
