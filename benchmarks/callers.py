"""One simulated caller: speaks, listens while the microphone goes on, waits a moment, speaks again; and keeps score."""

import json
import random
from dataclasses import dataclass, field

from benchmarks import clips
from benchmarks.playback import ReplySpeaker
from benchmarks.replies import fault_of
from benchmarks.units import FRAME_SAMPLES, SAMPLE_RATE_HZ
from benchmarks.wsframes import TEXT, client_frames

DONE = b"DONE"
TURN_LIMIT_S = 15.0
"""The longest time from the end of speech to `DONE`."""
EARLIEST_S = 0.100
"""Half the endpoint wait. A reply sooner than this after the end of speech cannot have waited for the endpoint."""
PAUSE_S = (0.5, 1.5)
"""The shortest and the longest time between `DONE` and the caller's next word."""
NOISE_FRAMES = client_frames(clips.to_int16(clips.noise(FRAME_SAMPLES * 50, seed=7)), FRAME_SAMPLES)


@dataclass
class Turn:
    """The record of one turn; times are on the monotonic clock, in seconds."""

    conversation: int
    pitch_hz: int
    speech_end: float | None = None
    first_block: float | None = None
    last_block: float | None = None
    played: float | None = None
    """The time when a player that is not told of a pause has played the whole reply."""
    done: float | None = None
    late_chunks: int = 0
    faults: list[str] = field(default_factory=list)
    record: dict[str, object] = field(default_factory=dict)
    """The service's `turn_ended`, for callers who ask for events."""
    interruption: float | None = None
    """The time when the first sample of speech over this turn's reply was sent."""
    paused: float | None = None
    interrupted: float | None = None
    """The time when the service told of the interruption."""

    @property
    def voice_to_voice_ms(self) -> float | None:
        """From sending the last sample of speech to receiving the first block of the reply."""
        if self.speech_end is None or self.first_block is None:
            return None
        return 1000 * (self.first_block - self.speech_end)


class Caller:
    """A `Line` that holds a conversation and judges every turn of it."""

    def __init__(self, conversation: int, conversations: int, speeches: list[clips.Speech]) -> None:
        self.turns: list[Turn] = []
        self.events: list[dict[str, object]] = []
        self.stopping = False
        self.lost_because: str | None = None
        self._conversation = conversation
        self._random = random.Random(conversation * 7919 + conversations)
        self._clips = [
            (pitch, client_frames(clips.utterance(speech, pitch, conversation), FRAME_SAMPLES))
            for number, pitch in enumerate(clips.pitches_of(conversation, conversations))
            for speech in [speeches[(conversation + number * len(clips.VOICES)) % len(speeches)]]
        ]
        self._noise_at = self._random.randrange(len(NOISE_FRAMES))
        self._speaks_at = float("inf")
        self._clip: list[bytes] = []
        self._clip_at = 0
        self._blocks: list[bytes] = []
        self._playback = ReplySpeaker()
        self._answered: Turn | None = None  # the turn whose speech is over and whose DONE is to come

    @property
    def busy(self) -> bool:
        """In the middle of a turn."""
        return bool(self._clip) or self._answered is not None

    def speak_at(self, when: float) -> None:
        """Begin the first utterance at this time of the monotonic clock."""
        self._speaks_at = when

    def next_frame(self, now: float) -> bytes:
        """The next 20 ms of this caller's microphone."""
        if self._clip:
            return self._next_of_clip(now)
        if self._may_speak(now):
            self._begin_turn()
            return self._next_of_clip(now)
        turn = self._answered
        if turn is not None and turn.speech_end is not None and now - turn.speech_end > TURN_LIMIT_S:
            self._fail("timeout: no DONE" if self._blocks else "timeout: no reply", turn)
            self._end_turn(turn, now)
        self._noise_at = (self._noise_at + 1) % len(NOISE_FRAMES)
        return NOISE_FRAMES[self._noise_at]

    def _may_speak(self, now: float) -> bool:
        return self._answered is None and now >= self._speaks_at and not self.stopping

    def _begin_turn(self) -> None:
        pitch_hz, self._clip = self._clips[len(self.turns) % len(self._clips)]
        self._clip_at = 0
        self.turns.append(Turn(self._conversation, pitch_hz))

    def _next_of_clip(self, now: float) -> bytes:
        frame = self._clip[self._clip_at]
        self._clip_at += 1
        if self._clip_at == len(self._clip):
            self._clip = []
            self._await_answer(self.turns[-1], now)
        return frame

    def _await_answer(self, turn: Turn, now: float) -> None:
        turn.speech_end = now
        self._answered = turn
        self._blocks = []
        self._playback = ReplySpeaker()

    def received(self, opcode: int, payload: bytes, now: float) -> None:
        """Take a block of the reply, `DONE`, or an event."""
        turn = self._answered
        if opcode == TEXT:
            self._take_event(json.loads(payload), now)
        elif turn is None:
            what = "DONE" if payload == DONE else "audio"
            self._fail(f"early: {what} while the caller speaks" if self._clip else f"stray: {what} after DONE")
        elif payload == DONE:
            self._judge(turn, now)
            self._end_turn(turn, now)
        else:
            self._take_block(turn, payload, now)

    def _take_event(self, event: dict[str, object], now: float) -> None:
        self.events.append(event)
        turn, kind = self._answered, event.get("type")
        if turn is None:
            return
        if kind == "turn_ended":
            turn.record = event
        elif kind == "reply_paused":
            turn.paused = turn.paused or now
        elif kind == "reply_interrupted":
            turn.interrupted = now

    def _take_block(self, turn: Turn, payload: bytes, now: float) -> None:
        if turn.first_block is None:
            turn.first_block = now
            if turn.speech_end is not None and now - turn.speech_end < EARLIEST_S:
                self._fail(f"early: audio {1000 * (now - turn.speech_end):.0f} ms after the end of speech")
        turn.last_block = now
        self._blocks.append(payload)
        self._playback.block(now, len(payload) / 2 / SAMPLE_RATE_HZ)

    def _judge(self, turn: Turn, now: float) -> None:
        turn.done = now
        fault = fault_of(self._blocks, turn.pitch_hz)
        if fault is not None:
            self._fail(fault, turn)

    def _end_turn(self, turn: Turn, now: float) -> None:
        turn.late_chunks, turn.played = self._playback.late, self._playback.ends
        self._answered = None
        self._blocks = []
        self._speaks_at = now + self._random.uniform(*PAUSE_S)

    def _fail(self, fault: str, turn: Turn | None = None) -> None:
        if not self.turns:
            self.turns.append(Turn(self._conversation, 0))
        faults = (turn or self.turns[-1]).faults
        if len(faults) < 10:  # a reply in the middle of speech is 70 blocks of the same news
            faults.append(fault)

    def lost(self, reason: str) -> None:
        """The connection is gone: the running turn has failed, and so has the conversation."""
        self.lost_because = reason
        self._fail(f"lost: {reason}")
        self._clip, self._answered = [], None
        self.stopping = True

    def endpoint_to_audio_ms(self) -> list[float]:
        """For every turn the service reported: from its endpoint decision to its first block sent, by its own clock."""
        return [
            float(str(event["first_audio_sent_ms"])) - float(str(event["endpoint_ms"]))
            for event in self.events
            if event.get("type") == "turn_ended"
            and event.get("first_audio_sent_ms") is not None
            and event.get("endpoint_ms") is not None
        ]
