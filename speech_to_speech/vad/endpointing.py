"""From the probabilities of windows to utterances, for one session."""

from collections import deque
from dataclasses import dataclass

from speech_to_speech.frames import SpeechDiscarded, SpeechSplit, SpeechStarted, SpeechStopped, VadEvent, pcm_ms
from speech_to_speech.vad.base import WINDOW_MS

HYSTERESIS = 0.15  # Silero's own: below the threshold by this much, speech has stopped
LOWEST_STOP = 0.01


@dataclass(frozen=True)
class EndpointOptions:
    """When an utterance begins and ends. The flags and defaults are those of the original pipeline.

    thresh: probability from which a window is speech.
    min_silence_ms: the endpoint wait: so much silence ends the utterance.
    min_speech_ms: a shorter utterance is discarded; counted from the window that triggers to the endpoint, its silence
        included, so that a 'yes' is long enough.
    max_speech_ms: a longer utterance is split there for STT.
    max_utterance_s: an utterance this long ends, whatever comes.
    speech_pad_ms: how much audio before the trigger belongs to the utterance.
    """

    thresh: float = 0.3
    min_silence_ms: float = 250
    min_speech_ms: float = 500
    max_speech_ms: float = 30_000
    max_utterance_s: float = 600
    speech_pad_ms: float = 500


class Endpointer:
    """The state machine: silence, speech, silence within speech. Fed with every window in order; pure."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._stop_below = max(options.thresh - HYSTERESIS, LOWEST_STOP)
        self._pre_roll: deque[bytes] = deque(maxlen=round(options.speech_pad_ms / WINDOW_MS))
        self._part: list[bytes] = []
        self._position_ms = 0.0
        self._speaking = False
        self._spoken_ms = 0.0
        self._silence_ms = 0.0

    @property
    def speaking(self) -> bool:
        return self._speaking

    def feed(self, window: bytes, probability: float) -> VadEvent | None:
        """Take one window with its probability of speech; say what it changes."""
        self._position_ms += pcm_ms(len(window))
        if not self._speaking:
            return self._wait_for_speech(window, probability)
        self._part.append(window)
        self._spoken_ms += WINDOW_MS
        if probability >= self._options.thresh:
            self._silence_ms = 0.0
        elif probability < self._stop_below or self._silence_ms:
            self._silence_ms += WINDOW_MS
        if self._silence_ms >= self._options.min_silence_ms:
            return self._stop()
        if self._spoken_ms >= self._options.max_utterance_s * 1000:
            return self._stop()
        if len(self._part) * WINDOW_MS >= self._options.max_speech_ms:
            part, self._part = b"".join(self._part), []
            return SpeechSplit(part, self._position_ms)
        return None

    def reset(self, position_ms: float) -> None:
        """Forget everything and go on at `position_ms`: the audio up to there was not listened to."""
        self._forget()
        self._position_ms = position_ms

    def _wait_for_speech(self, window: bytes, probability: float) -> VadEvent | None:
        if probability < self._options.thresh:
            self._pre_roll.append(window)
            return None
        self._speaking = True
        self._spoken_ms = WINDOW_MS
        self._part = [*self._pre_roll, window]
        self._pre_roll.clear()
        return SpeechStarted(self._position_ms - WINDOW_MS)

    def _stop(self) -> VadEvent:
        spoken_ms, silence_ms = self._spoken_ms, self._silence_ms
        part, ended_ms = self._part, self._position_ms - silence_ms
        self._forget()
        if spoken_ms < self._options.min_speech_ms:
            self._pre_roll.extend(part)  # the next utterance may begin in its silence
            return SpeechDiscarded(ended_ms)
        return SpeechStopped(b"".join(part), ended_ms, silence_ms, spoken_ms)

    def _forget(self) -> None:
        self._pre_roll.clear()
        self._part = []
        self._speaking = False
        self._spoken_ms = self._silence_ms = 0.0
