"""The endpointing state machine, fed with made-up probabilities."""

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speech_to_speech.conversation.endpointing import Endpointer, EndpointOptions
from speech_to_speech.frames import (
    SoftEnd,
    VadEvent,
    VoiceContinued,
    VoiceDiscarded,
    VoiceResumed,
    VoiceSplit,
    VoiceStarted,
    VoiceStopped,
)
from speech_to_speech.vad.base import WINDOW_BYTES, WINDOW_MS

# In windows: silence of 4 ends an utterance, one below 8 is discarded, a part has 20, an utterance 100, pre-roll 5.
OPTIONS = EndpointOptions(
    thresh=0.5,
    min_silence_ms=4 * WINDOW_MS,
    min_speech_ms=8 * WINDOW_MS,
    max_speech_ms=20 * WINDOW_MS,
    max_utterance_s=100 * WINDOW_MS / 1000,
    speech_pad_ms=5 * WINDOW_MS,
)
SPEECH, SILENCE, BETWEEN = 0.9, 0.0, 0.4  # between: below the threshold, but not by enough to be silence


def window(number: int) -> bytes:
    """A window that names its place in the input."""
    return number.to_bytes(4, "little") * (WINDOW_BYTES // 4)


def numbers(pcm: bytes) -> list[int]:
    """The places of the windows in a part of an utterance."""
    assert len(pcm) % WINDOW_BYTES == 0
    found = [int.from_bytes(pcm[at : at + 4], "little") for at in range(0, len(pcm), WINDOW_BYTES)]
    assert pcm == b"".join(window(number) for number in found)
    return found


def feed(endpointer: Endpointer, probabilities: list[float], first: int = 0) -> list[tuple[int, VadEvent]]:
    """The events, each with the place of the window that made it."""
    events = []
    for number, probability in enumerate(probabilities, first):
        events += [(number, event) for event in endpointer.push(window(number), probability)]
    return events


def run(*probabilities: float, options: EndpointOptions = OPTIONS) -> list[tuple[int, VadEvent]]:
    return feed(Endpointer(options), list(probabilities))


def kinds(events: list[tuple[int, VadEvent]]) -> list[tuple[int, type]]:
    return [(number, type(event)) for number, event in events]


def test_silence_makes_no_event() -> None:
    assert run(*[SILENCE] * 200) == []


def test_what_stays_below_the_threshold_makes_no_event() -> None:
    assert run(*[0.49] * 200) == []


def test_the_threshold_itself_is_speech() -> None:
    assert run(0.5) == [(0, VoiceStarted(0.0))]


def test_speech_starts_where_its_first_window_does() -> None:
    assert run(*[SILENCE] * 10, SPEECH) == [(10, VoiceStarted(10 * WINDOW_MS))]


def test_an_utterance_ends_after_min_silence() -> None:
    events = run(*[SILENCE] * 10, *[SPEECH] * 10, *[SILENCE] * 4)
    assert kinds(events) == [(10, VoiceStarted), (23, VoiceStopped)]


def test_an_endpoint_says_where_speech_ended_and_how_long_it_was() -> None:
    _, (_, stopped) = run(*[SILENCE] * 10, *[SPEECH] * 10, *[SILENCE] * 4)
    assert isinstance(stopped, VoiceStopped)
    assert stopped.audio_ms == 20 * WINDOW_MS
    assert stopped.silence_ms == 4 * WINDOW_MS
    assert stopped.speech_ms == 14 * WINDOW_MS


def test_a_shorter_silence_does_not_end_an_utterance() -> None:
    events = run(*[SPEECH] * 6, *[SILENCE] * 3, *[SPEECH] * 3, *[SILENCE] * 3, SPEECH)
    assert kinds(events) == [(0, VoiceStarted)]


def test_a_dip_within_the_hysteresis_is_not_silence() -> None:
    assert kinds(run(SPEECH, *[BETWEEN] * 15)) == [(0, VoiceStarted)]


def test_a_dip_below_the_hysteresis_is_silence() -> None:
    assert kinds(run(*[SPEECH] * 6, *[0.34] * 4)) == [(0, VoiceStarted), (9, VoiceStopped)]


def test_silence_that_began_goes_on_within_the_hysteresis() -> None:
    assert kinds(run(*[SPEECH] * 6, SILENCE, *[BETWEEN] * 3)) == [(0, VoiceStarted), (9, VoiceStopped)]


def test_only_the_threshold_ends_a_silence_that_began() -> None:
    events = run(*[SPEECH] * 6, *[SILENCE] * 3, 0.5, *[SILENCE] * 3, BETWEEN)
    assert kinds(events) == [(0, VoiceStarted), (13, VoiceStopped)]


def test_a_low_threshold_still_has_a_stop_threshold() -> None:
    options = dataclasses.replace(OPTIONS, thresh=0.1)
    assert kinds(run(*[0.2] * 6, *[0.0] * 4, options=options)) == [(0, VoiceStarted), (9, VoiceStopped)]


def test_the_window_that_triggers_belongs_to_the_utterance() -> None:
    _, (_, stopped) = run(*[SPEECH] * 8, *[SILENCE] * 4)
    assert isinstance(stopped, VoiceStopped)
    assert numbers(stopped.pcm) == list(range(12))


def test_the_pre_roll_belongs_to_the_utterance() -> None:
    _, (_, stopped) = run(*[SILENCE] * 10, *[SPEECH] * 8, *[SILENCE] * 4)
    assert isinstance(stopped, VoiceStopped)
    assert numbers(stopped.pcm) == list(range(5, 22))


def test_a_shorter_beginning_is_kept_whole() -> None:
    _, (_, stopped) = run(*[SILENCE] * 2, *[SPEECH] * 8, *[SILENCE] * 4)
    assert isinstance(stopped, VoiceStopped)
    assert numbers(stopped.pcm) == list(range(14))


def test_without_speech_pad_the_utterance_begins_with_the_trigger() -> None:
    options = dataclasses.replace(OPTIONS, speech_pad_ms=0)
    _, (_, stopped) = run(*[SILENCE] * 10, *[SPEECH] * 8, *[SILENCE] * 4, options=options)
    assert isinstance(stopped, VoiceStopped)
    assert numbers(stopped.pcm) == list(range(10, 22))


def test_the_pre_roll_does_not_count_as_speech() -> None:
    events = run(*[SILENCE] * 10, *[SPEECH] * 3, *[SILENCE] * 4)
    assert kinds(events) == [(10, VoiceStarted), (16, VoiceDiscarded)]


def test_min_speech_counts_the_silence_at_the_end() -> None:
    events = run(*[SPEECH] * 4, *[SILENCE] * 4)
    assert kinds(events) == [(0, VoiceStarted), (7, VoiceStopped)]


def test_what_is_shorter_than_min_speech_is_discarded() -> None:
    events = run(*[SPEECH] * 3, *[SILENCE] * 4)
    assert events == [(0, VoiceStarted(0.0)), (6, VoiceDiscarded(3 * WINDOW_MS))]


def test_by_default_a_quarter_second_of_speech_is_enough() -> None:
    options = EndpointOptions()
    events = run(*[SPEECH] * 8, *[SILENCE] * 8, options=options)
    assert kinds(events) == [(0, VoiceStarted), (15, VoiceStopped)]


def test_what_was_discarded_is_pre_roll_of_the_next_utterance() -> None:
    events = run(*[SPEECH] * 3, *[SILENCE] * 4, SILENCE, *[SPEECH] * 8, *[SILENCE] * 4)
    assert kinds(events)[2:] == [(8, VoiceStarted), (19, VoiceStopped)]
    stopped = events[-1][1]
    assert isinstance(stopped, VoiceStopped)
    assert numbers(stopped.pcm) == list(range(3, 20))
    assert stopped.speech_ms == 12 * WINDOW_MS


def test_a_long_utterance_is_split_and_nothing_is_lost() -> None:
    events = run(*[SILENCE] * 10, *[SPEECH] * 50, *[SILENCE] * 4)
    assert kinds(events) == [(10, VoiceStarted), (24, VoiceSplit), (44, VoiceSplit), (63, VoiceStopped)]
    parts = [event.pcm for _, event in events if isinstance(event, VoiceSplit | VoiceStopped)]
    assert [len(numbers(part)) for part in parts] == [20, 20, 19]
    assert numbers(b"".join(parts)) == list(range(5, 64))


def test_a_split_says_where_it_is() -> None:
    _, (number, split) = run(*[SPEECH] * 20)
    assert isinstance(split, VoiceSplit)
    assert (number, split.audio_ms) == (19, 20 * WINDOW_MS)


def test_the_length_of_a_split_utterance_is_that_of_all_its_parts() -> None:
    *_, (_, stopped) = run(*[SPEECH] * 50, *[SILENCE] * 4)
    assert isinstance(stopped, VoiceStopped)
    assert stopped.speech_ms == 54 * WINDOW_MS


def test_a_silence_across_a_split_still_ends_the_utterance() -> None:
    events = run(*[SPEECH] * 18, *[SILENCE] * 4)
    assert kinds(events) == [(0, VoiceStarted), (19, VoiceSplit), (21, VoiceStopped)]
    assert numbers(b"".join(event.pcm for _, event in events[1:])) == list(range(22))  # type: ignore[union-attr]


def test_speech_without_end_ends_at_max_utterance() -> None:
    events = run(*[SPEECH] * 100)
    assert kinds(events)[-1] == (99, VoiceStopped)
    stopped = events[-1][1]
    assert isinstance(stopped, VoiceStopped)
    assert (stopped.silence_ms, stopped.speech_ms, stopped.audio_ms) == (0.0, 100 * WINDOW_MS, 100 * WINDOW_MS)


def test_after_max_utterance_speech_starts_again_and_nothing_is_lost_between() -> None:
    events = run(*[SPEECH] * 110, *[SILENCE] * 4)
    assert kinds(events)[-3:] == [(99, VoiceStopped), (100, VoiceStarted), (113, VoiceStopped)]
    parts = [event.pcm for _, event in events if isinstance(event, VoiceSplit | VoiceStopped)]
    assert numbers(b"".join(parts)) == list(range(114))


def test_reset_forgets_the_utterance_and_goes_on_at_the_position() -> None:
    endpointer = Endpointer(OPTIONS)
    feed(endpointer, [SILENCE] * 5 + [SPEECH] * 10)
    assert endpointer.speaking
    endpointer.reset(1000.0)
    assert not endpointer.speaking
    events = feed(endpointer, [SPEECH] * 8 + [SILENCE] * 4, first=50)
    stopped = events[-1][1]
    assert isinstance(stopped, VoiceStopped)
    assert events[0] == (50, VoiceStarted(1000.0))
    assert stopped.audio_ms == 1000.0 + 8 * WINDOW_MS
    assert numbers(stopped.pcm) == list(range(50, 62))


def test_reset_forgets_the_pre_roll() -> None:
    endpointer = Endpointer(OPTIONS)
    feed(endpointer, [SILENCE] * 5)
    endpointer.reset(0.0)
    *_, (_, stopped) = feed(endpointer, [SPEECH] * 8 + [SILENCE] * 4, first=50)
    assert isinstance(stopped, VoiceStopped)
    assert numbers(stopped.pcm) == list(range(50, 62))


def test_reset_forgets_a_silence() -> None:
    endpointer = Endpointer(OPTIONS)
    feed(endpointer, [SPEECH] * 5 + [SILENCE] * 3)
    endpointer.reset(0.0)
    assert kinds(feed(endpointer, [SPEECH, SILENCE])) == [(0, VoiceStarted)]


PROBABILITIES = st.lists(
    st.tuples(st.sampled_from([SPEECH, 0.5, 0.49, BETWEEN, 0.35, 0.34, SILENCE]), st.integers(1, 30)), max_size=40
).map(lambda runs: [probability for probability, length in runs for _ in range(length)])


@given(PROBABILITIES)
@example([SPEECH] + [0.34] * 4 + [SPEECH] * 4 + [0.34] * 4)
def test_the_parts_of_an_utterance_are_one_stretch_of_the_input(probabilities: list[float]) -> None:
    started: int | None = None
    parts: list[int] = []
    ended = -1
    for number, event in run(*probabilities):
        match event:
            case VoiceStarted():
                assert started is None
                started, parts = number, []
            case VoiceSplit(pcm):
                assert started is not None
                parts += numbers(pcm)
            case VoiceStopped(pcm):
                assert started is not None
                parts += numbers(pcm)
                assert parts == list(range(parts[0], number + 1))
                assert max(started - 5, ended + 1) == parts[0]
                started, ended = None, number
            case VoiceDiscarded():
                assert started is not None
                started = None  # `ended` stays: what was discarded is pre-roll of the next


@given(PROBABILITIES)
def test_no_part_is_longer_than_max_speech_and_pre_roll(probabilities: list[float]) -> None:
    for _, event in run(*probabilities):
        if isinstance(event, VoiceSplit | VoiceStopped):
            assert 0 < len(event.pcm) // WINDOW_BYTES <= 20 + 5


@given(PROBABILITIES)
def test_beginnings_and_endpoints_are_in_order_and_within_the_input(probabilities: list[float]) -> None:
    last_ms = 0.0
    for number, event in run(*probabilities):
        if isinstance(event, VoiceStarted | VoiceDiscarded | VoiceStopped):
            assert last_ms <= event.audio_ms <= (number + 1) * WINDOW_MS
            last_ms = event.audio_ms


@pytest.mark.parametrize("pad_ms", [16.0, 500.0, 1000.0])
def test_speech_pad_is_never_more_than_a_window_short(pad_ms: float) -> None:
    options = dataclasses.replace(OPTIONS, speech_pad_ms=pad_ms, max_speech_ms=10_000)
    *_, (_, stopped) = run(*[SILENCE] * 50, *[SPEECH] * 8, *[SILENCE] * 4, options=options)
    assert isinstance(stopped, VoiceStopped)
    kept_ms = (50 - numbers(stopped.pcm)[0]) * WINDOW_MS
    assert abs(kept_ms - pad_ms) < WINDOW_MS


# Soft ends.

SOFT = dataclasses.replace(OPTIONS, soft_end_ms=2 * WINDOW_MS)


def test_a_soft_end_comes_before_the_endpoint_with_the_utterance_so_far() -> None:
    events = run(*[SPEECH] * 10, *[SILENCE] * 4, options=SOFT)
    assert kinds(events) == [(0, VoiceStarted), (11, SoftEnd), (13, VoiceStopped)]
    soft, stopped = events[1][1], events[2][1]
    assert isinstance(soft, SoftEnd)
    assert isinstance(stopped, VoiceStopped)
    assert numbers(soft.pcm) == list(range(12))
    assert (soft.audio_ms, soft.silence_ms, soft.speech_ms) == (10 * WINDOW_MS, 2 * WINDOW_MS, 12 * WINDOW_MS)
    assert stopped.pcm.startswith(soft.pcm)


def test_speech_after_a_soft_end_resumes_the_utterance_and_makes_another() -> None:
    events = run(*[SPEECH] * 10, *[SILENCE] * 3, *[SPEECH] * 2, *[SILENCE] * 4, options=SOFT)
    assert kinds(events) == [
        (0, VoiceStarted),
        (11, SoftEnd),
        (13, VoiceResumed),
        (16, SoftEnd),
        (18, VoiceStopped),
    ]
    assert events[2][1] == VoiceResumed(14 * WINDOW_MS, 11 * WINDOW_MS)
    assert numbers(events[3][1].pcm) == list(range(17))  # type: ignore[union-attr]


def test_a_silence_below_the_soft_end_is_no_event() -> None:
    assert kinds(run(*[SPEECH] * 10, SILENCE, SPEECH, options=SOFT)) == [(0, VoiceStarted)]


def test_what_is_too_short_for_an_utterance_has_no_soft_end() -> None:
    assert kinds(run(*[SPEECH] * 2, *[SILENCE] * 4, options=SOFT)) == [(0, VoiceStarted), (5, VoiceDiscarded)]


def test_a_soft_end_that_is_no_shorter_than_the_wait_never_comes() -> None:
    options = dataclasses.replace(SOFT, soft_end_ms=4 * WINDOW_MS)
    assert kinds(run(*[SPEECH] * 10, *[SILENCE] * 4, options=options)) == [(0, VoiceStarted), (13, VoiceStopped)]


def test_the_wait_can_be_made_longer_and_shorter_after_a_soft_end() -> None:
    for silence, wait in ((3, 3), (7, 7)):
        endpointer = Endpointer(SOFT)
        feed(endpointer, [SPEECH] * 10 + [SILENCE] * 2)
        assert endpointer.end_after(wait * WINDOW_MS) == []
        events = feed(endpointer, [SILENCE] * 10, first=12)
        assert kinds(events) == [(10 + silence - 1, VoiceStopped)]


def test_a_wait_that_is_over_already_ends_the_utterance_at_once() -> None:
    endpointer = Endpointer(SOFT)
    feed(endpointer, [SPEECH] * 10 + [SILENCE] * 3)
    [stopped] = endpointer.end_after(WINDOW_MS)
    assert isinstance(stopped, VoiceStopped)
    assert stopped.silence_ms == 3 * WINDOW_MS
    assert endpointer.end_after(0) == []


def test_a_wait_counts_for_one_pause_only() -> None:
    endpointer = Endpointer(SOFT)
    feed(endpointer, [SPEECH] * 10 + [SILENCE] * 2)
    endpointer.end_after(50 * WINDOW_MS)
    events = feed(endpointer, [SPEECH] + [SILENCE] * 4, first=12)
    assert kinds(events)[-1] == (16, VoiceStopped)


def test_without_a_soft_end_there_is_nothing_to_wait_for() -> None:
    endpointer = Endpointer(SOFT)
    feed(endpointer, [SPEECH] * 10 + [SILENCE])
    assert endpointer.end_after(0) == []
    assert endpointer.speaking


def test_a_longer_wait_makes_no_utterance_of_a_click() -> None:
    endpointer = Endpointer(dataclasses.replace(SOFT, min_speech_ms=0))
    feed(endpointer, [SPEECH] + [SILENCE] * 2)
    endpointer.end_after(20 * WINDOW_MS)
    long = Endpointer(SOFT)
    assert kinds(feed(long, [SPEECH] + [SILENCE] * 2)) == [(0, VoiceStarted)]
    assert long.end_after(20 * WINDOW_MS) == []
    assert kinds(feed(long, [SILENCE] * 2, first=3)) == [(4, VoiceDiscarded)]


# Progress.


def test_progress_comes_after_each_length_of_speech_pauses_not_counted() -> None:
    options = dataclasses.replace(OPTIONS, progress_ms=3 * WINDOW_MS)
    events = run(*[SPEECH] * 4, *[SILENCE] * 2, *[SPEECH] * 3, options=options)
    assert kinds(events) == [(0, VoiceStarted), (2, VoiceContinued), (7, VoiceContinued)]
    assert events[1][1] == VoiceContinued(3 * WINDOW_MS, 3 * WINDOW_MS)
    assert events[2][1] == VoiceContinued(8 * WINDOW_MS, 6 * WINDOW_MS)
