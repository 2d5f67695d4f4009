"""What a client is told besides audio. Each becomes a JSON object whose `type` is the class's name in snake_case."""

from dataclasses import dataclass

from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import SpeechToSpeechError
from speech_to_speech.frames import SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """First message of a connection."""

    session_id: str
    sample_rate_hz: int = SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at `audio_ms` of the audio received."""

    turn_id: str
    audio_ms: float


@dataclass(frozen=True, slots=True)
class SpeechPartial:
    """More words of the utterance that is being spoken; those told before stay."""

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class SpeechDiscarded:
    """It was too short, or a word of assent while a reply goes on: no turn."""

    turn_id: str
    audio_ms: float


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The utterance ended at `audio_ms`; the turn begins."""

    turn_id: str
    audio_ms: float


@dataclass(frozen=True, slots=True)
class SpeechTranscribed:
    """What was heard: of a part of a long utterance (`final` false), or of all of it."""

    turn_id: str
    text: str
    language: str
    final: bool


@dataclass(frozen=True, slots=True)
class LanguageFallback:
    """A warning: `heard` is a language that can't be spoken here, so the answer is in `spoken`."""

    turn_id: str
    heard: str
    spoken: str


@dataclass(frozen=True, slots=True)
class TurnRequested:
    """A turn begins without speech: `text` was typed, or it is empty and the service speaks of its own accord."""

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The next piece of the reply, before its audio."""

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ReplySent:
    """All audio of the reply was sent; the turn ends when the client can have played it."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class ReplyPaused:
    """Speech over the reply: no more of it is sent until it is clear what that is."""

    turn_id: str
    played_ms: float


@dataclass(frozen=True, slots=True)
class ReplyResumed:
    """It was no interruption: the reply goes on."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class ReplyInterrupted:
    """The reply is over: `played_ms` of it count as heard, what is beyond is to be cut."""

    turn_id: str
    played_ms: float


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The turn is over, and the service listens again; nothing more is sent of it."""

    record: TurnRecord


@dataclass(frozen=True, slots=True)
class Error:
    """Something failed."""

    code: str
    message: str
    stage: str | None
    turn_id: str | None
    retryable: bool

    @classmethod
    def of(cls, error: Exception, turn_id: str | None = None) -> "Error":
        """What a client is told of an error; a defect of ours is named without details."""
        if not isinstance(error, SpeechToSpeechError):
            return cls("internal", "the service failed; its log has the trace", None, turn_id, False)
        return cls(error.code, str(error), error.stage, turn_id, error.retryable)


Event = (
    SessionStarted
    | SpeechStarted
    | SpeechPartial
    | SpeechDiscarded
    | SpeechStopped
    | SpeechTranscribed
    | LanguageFallback
    | TurnRequested
    | ReplyText
    | ReplySent
    | ReplyPaused
    | ReplyResumed
    | ReplyInterrupted
    | TurnEnded
    | Error
)
