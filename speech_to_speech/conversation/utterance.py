"""What the person is saying, or has just said."""

from dataclasses import dataclass, field

from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.frames import Transcript, VoiceStopped


@dataclass
class LeftOver:
    """What was said in a turn that was cancelled before its words were known: the beginning of the next utterance."""

    transcripts: list[Transcript] = field(default_factory=list)
    unheard: bytes = b""


@dataclass
class Utterance:
    """It becomes a turn when it has ended, unless it is too short or meant for nobody."""

    record: TurnRecord
    transcripts: list[Transcript] = field(default_factory=list)
    """The words of its parts, if it was split."""
    unheard: bytes = b""
    """Speech before it that was taken for a turn of its own, and has no words yet."""
    reply: Reply | None = None
    stopped: VoiceStopped | None = None
    endpoint: float = 0.0
    taken: bool = False
    """It has become a turn."""
    voiced_ms: float = 0.0
    excused_ms: float = 0.0
    """How much of `voiced_ms` was a backchannel."""
    asked_for_words: bool = False
    """Its words so far were asked for while it was said over a reply."""

    @property
    def turn_id(self) -> str:
        return self.record.turn_id
