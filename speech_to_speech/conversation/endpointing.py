"""From the probabilities of windows to utterances, for one session."""

import dataclasses
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from speech_to_speech.frames import (
    SoftEnd,
    VadEvent,
    VoiceContinued,
    VoiceDiscarded,
    VoiceResumed,
    VoiceSplit,
    VoiceStarted,
    VoiceStopped,
    pcm_ms,
)
from speech_to_speech.vad.base import WINDOW_MS

HYSTERESIS = 0.15  # Silero's own value: speech has stopped when it is so far below the threshold
LOWEST_STOP = 0.01


@dataclass(frozen=True)
class EndpointOptions:
    """When an utterance begins and ends. The flags and defaults are those of the original pipeline.

    thresh: probability from which a window is speech.
    min_silence_ms: the endpoint wait: so much silence ends the utterance, unless `Endpointer.end_after` says otherwise.
    soft_end_ms: so much silence may be the end: work for the reply can begin. 0, or one not below the endpoint wait:
        no soft ends.
    min_speech_ms: a shorter utterance is discarded; counted from the window that triggers to the endpoint, the silence
        of the usual wait included, so that a 'yes' is long enough.
    max_speech_ms: a longer utterance is split there for STT.
    max_utterance_s: an utterance this long ends, whatever comes.
    speech_pad_ms: how much audio before the trigger belongs to the utterance.
    progress_ms: `VoiceContinued` comes after each such length of speech; 0: never.
    """

    thresh: float = 0.3
    min_silence_ms: float = 250
    soft_end_ms: float = 0
    min_speech_ms: float = 500
    max_speech_ms: float = 30_000
    max_utterance_s: float = 600
    speech_pad_ms: float = 500
    progress_ms: float = 0


class Endpointer:
    """The state machine: silence, speech, silence within speech. Fed with every window in order; pure."""

    def __init__(self, options: EndpointOptions) -> None:
        self._pre_roll: deque[bytes] = deque()
        self.configure(options)
        self._position_ms = 0.0
        self._part: list[bytes] = []
        self._speaking = False
        self._soft_end = False
        self._spoken_ms = self._voiced_ms = self._silence_ms = 0.0

    def configure(self, options: EndpointOptions) -> None:
        """Go on by other options; the utterance so far stays."""
        self._options = options
        self._stop_below = max(options.thresh - HYSTERESIS, LOWEST_STOP)
        self._pre_roll = deque(self._pre_roll, maxlen=round(options.speech_pad_ms / WINDOW_MS))
        self._wait_ms = options.min_silence_ms
        self._usual_wait_ms = math.ceil(options.min_silence_ms / WINDOW_MS) * WINDOW_MS

    @property
    def speaking(self) -> bool:
        return self._speaking

    @property
    def utterance(self) -> bytes:
        """The last part of the utterance so far."""
        return b"".join(self._part)

    def push(self, window: bytes, probability: float) -> list[VadEvent]:
        """Take one window with its probability of speech; say what it changes."""
        return list(self._push(window, probability))

    def end_after(self, silence_ms: float) -> list[VadEvent]:
        """Make the pause that follows a `SoftEnd` the end when it is this long; it may be so already."""
        if not self._soft_end:
            return []
        self._wait_ms = silence_ms
        return [self._stop()] if self._is_over else []

    def end(self) -> list[VadEvent]:
        """Nothing more comes: end the utterance, if there is one."""
        return [self._stop()] if self._speaking else []

    def commit(self, *, wants_answer: bool = True) -> list[VadEvent]:
        """The client says that the utterance is complete, however short it is."""
        if not self._speaking:
            return []
        return [dataclasses.replace(self._ended(), wants_answer=wants_answer)]

    def clear(self) -> list[VadEvent]:
        """Drop the utterance, if there is one."""
        return [VoiceDiscarded(self._ended().audio_ms, cleared=True)] if self._speaking else []

    def reset(self, position_ms: float) -> None:
        """Forget everything and go on at `position_ms`: the audio up to there was not listened to."""
        self._forget()
        self._position_ms = position_ms

    def _push(self, window: bytes, probability: float) -> Iterator[VadEvent]:
        self._position_ms += pcm_ms(len(window))
        if not self._speaking:
            yield from self._wait_for_speech(window, probability)
            return
        self._part.append(window)
        self._spoken_ms += WINDOW_MS
        if probability >= self._options.thresh:
            yield from self._go_on()
        elif probability < self._stop_below or self._silence_ms:
            self._silence_ms += WINDOW_MS
        if self._is_over:
            yield self._stop()
        elif len(self._part) * WINDOW_MS >= self._options.max_speech_ms:
            part, self._part = self.utterance, []
            yield VoiceSplit(part, self._position_ms)
        elif 0 < self._options.soft_end_ms <= self._silence_ms and not self._soft_end and self._is_utterance:
            self._soft_end = True
            yield SoftEnd(self.utterance, self._position_ms - self._silence_ms, self._silence_ms, self._spoken_ms)

    def _wait_for_speech(self, window: bytes, probability: float) -> Iterator[VadEvent]:
        if probability < self._options.thresh:
            self._pre_roll.append(window)
            return
        self._speaking = True
        self._spoken_ms = self._voiced_ms = WINDOW_MS
        self._part = [*self._pre_roll, window]
        self._pre_roll.clear()
        yield VoiceStarted(self._position_ms - WINDOW_MS)

    def _go_on(self) -> Iterator[VadEvent]:
        progress_ms, before_ms = self._options.progress_ms, self._voiced_ms
        self._voiced_ms += WINDOW_MS
        self._silence_ms = 0.0
        if self._soft_end:
            self._soft_end = False
            self._wait_ms = self._options.min_silence_ms
            yield VoiceResumed(self._position_ms, self._voiced_ms)
        if progress_ms and self._voiced_ms // progress_ms > before_ms // progress_ms:
            yield VoiceContinued(self._position_ms, self._voiced_ms)

    @property
    def _is_over(self) -> bool:
        return self._silence_ms >= self._wait_ms or self._spoken_ms >= self._options.max_utterance_s * 1000

    @property
    def _is_utterance(self) -> bool:
        """Long enough to be one, however long the wait for its end is."""
        return self._spoken_ms - self._silence_ms + self._usual_wait_ms >= self._options.min_speech_ms

    def _stop(self) -> VadEvent:
        is_utterance, part = self._is_utterance, self._part
        stopped = self._ended()
        if is_utterance:
            return stopped
        self._pre_roll.extend(part)  # the next utterance may begin in the silence of this one
        return VoiceDiscarded(stopped.audio_ms)

    def _ended(self) -> VoiceStopped:
        ended_ms = self._position_ms - self._silence_ms
        stopped = VoiceStopped(self.utterance, ended_ms, self._silence_ms, self._spoken_ms, self._voiced_ms)
        self._forget()
        return stopped

    def _forget(self) -> None:
        self._pre_roll.clear()
        self._part = []
        self._speaking = self._soft_end = False
        self._spoken_ms = self._voiced_ms = self._silence_ms = 0.0
        self._wait_ms = self._options.min_silence_ms
