"""Every value that travels on an arrow of the pipeline, in path order.

    microphone -> VAD -> STT -> LLM -> TTS -> playout -> speaker

Audio is int16 little-endian mono PCM in ``bytes``, at ``SAMPLE_RATE_HZ`` unless a field says otherwise.
"""

from dataclasses import dataclass

SAMPLE_RATE_HZ = 16_000
"""That of the models that listen, and of a client that asks for no other."""
BYTES_PER_SAMPLE = 2


def pcm_ms(pcm_bytes: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """How many milliseconds of audio `pcm_bytes` bytes are."""
    return pcm_bytes * 1000 / (BYTES_PER_SAMPLE * sample_rate_hz)


def pcm_bytes(duration_ms: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """How many bytes `duration_ms` milliseconds of audio are: whole samples only."""
    return BYTES_PER_SAMPLE * round(duration_ms * sample_rate_hz / 1000)


# Events of the VAD. Positions count the session's audio from its start.


@dataclass(frozen=True, slots=True)
class VoiceStarted:
    """Speech began at `audio_ms`."""

    audio_ms: float


@dataclass(frozen=True, slots=True)
class VoiceContinued:
    """Speech goes on; so far `voiced_ms` of the utterance were speech, its pauses not counted."""

    audio_ms: float
    voiced_ms: float


@dataclass(frozen=True, slots=True)
class SoftEnd:
    """A short silence, which may be the end or a pause: `pcm` is the utterance's last part so far.

    The other fields are as those of `VoiceStopped`.
    """

    pcm: bytes
    audio_ms: float
    silence_ms: float
    speech_ms: float


@dataclass(frozen=True, slots=True)
class VoiceResumed:
    """It was a pause: the utterance goes on after a `SoftEnd`."""

    audio_ms: float
    voiced_ms: float


@dataclass(frozen=True, slots=True)
class VoiceDiscarded:
    """What began was too short to be an utterance, or the client takes it back (`cleared`): nothing follows."""

    audio_ms: float
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class VoiceSplit:
    """The utterance is longer than one STT request may be: here is the part so far, more follows."""

    pcm: bytes
    audio_ms: float


@dataclass(frozen=True, slots=True)
class VoiceStopped:
    """The endpoint: the utterance is complete, and `pcm` is its last (mostly its only) part.

    `audio_ms` is where speech ended, `silence_ms` how much silence the decision has waited for after it,
    `speech_ms` the length of the whole utterance, all its parts and its trailing silence included, `voiced_ms` how much
    of that was speech. `wants_answer` is false if the client said so when it ended the utterance.
    """

    pcm: bytes
    audio_ms: float
    silence_ms: float
    speech_ms: float
    voiced_ms: float
    wants_answer: bool = True


@dataclass(frozen=True, slots=True)
class VadFailed:
    """The VAD could not judge this session's audio; it starts afresh."""

    error: Exception


VadEvent = (
    VoiceStarted | VoiceContinued | SoftEnd | VoiceResumed | VoiceDiscarded | VoiceSplit | VoiceStopped | VadFailed
)


# Requests to the models, and the models' outputs.


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """Audio to transcribe. `language` is an ISO 639-1 code."""

    pcm: bytes
    language: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard; an empty `text` means no words."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a chat; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the words of an answer are chosen; None: as the backend's own options say.

    temperature: 0 takes the likeliest word each time.
    max_tokens: the longest answer.
    """

    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat whose last message wants an answer: text deltas (`str`) and tool calls."""

    messages: tuple[Message, ...]
    language: str
    sampling: Sampling = Sampling()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A language model asks for a tool; `arguments` is JSON."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """One speakable piece of text. `voice` is one of the backend's names; empty: its own for the language."""

    text: str
    language: str
    voice: str = ""


@dataclass(frozen=True, slots=True)
class WordStart:
    """The word at index `character` of the text begins at `at_ms` of its audio."""

    character: int
    at_ms: float


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Some speech, in the sample rate of the model that made it, and the words that begin in it, if the model tells."""

    pcm: bytes
    sample_rate_hz: int
    words: tuple[WordStart, ...] = ()
