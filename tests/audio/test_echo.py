"""A session's own reply in its microphone, and people speaking over it; rooms are made, time is the microphone's."""

import functools
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from service import noise

from speech_to_speech.audio.echo import Cleaned, EchoGuard
from speech_to_speech.audio.samples import Resampler, Samples, to_float, to_pcm
from speech_to_speech.frames import AudioChunk
from speech_to_speech.vad.base import WINDOW_BYTES, WINDOW_SAMPLES

BLOCK_SAMPLES = 1024
AHEAD_MS = 200
REPLY = "The weather tomorrow will be sunny in the morning with some clouds"
SPEECH = "Wait a moment, that is not what I meant"
LOUD = 0.02  # RMS of a window: some way above the noises here

Marks = npt.NDArray[np.bool_]


@functools.cache
def say(text: str, voice: str = "en-us") -> Samples:
    """Spoken by a process of its own: eSpeak NG's noise goes on from what it spoke before, in whatever test."""
    program = f"import sys, service; sys.stdout.buffer.write(service.spoken({text!r}, {voice!r}))"
    return to_float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=30).stdout)


@functools.cache
def room(rt60_s: float = 0.25, direct_db: float = 6.0) -> Samples:
    """The direct sound, and noise that dies away."""
    at_s = np.arange(4800) / 16_000
    tail = np.random.default_rng(3).normal(0, 1, 4800) * np.exp(-6.91 * at_s / rt60_s)
    tail[:24] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1
    return tail.astype(np.float32)


@functools.cache
def echo(reply_text: str, level_db: float, delay_ms: float, *, reverberant: bool = False) -> Samples:
    """Through a sound card's rate and a room; 700 ms longer than the reply."""
    reply = say(reply_text)
    card, back = Resampler(44_100), Resampler()
    there = card.push(AudioChunk(to_pcm(reply), 16_000)) + card.finish()
    sound = to_float(back.push(AudioChunk(there, 44_100)) + back.finish())
    if reverberant:
        whole = np.fft.irfft(np.fft.rfft(sound, 1 << 18) * np.fft.rfft(room(), 1 << 18))
        sound = whole[: len(sound) + 4800].astype(np.float32)
    heard = np.zeros(len(reply) + 700 * 16, np.float32)
    first = round(delay_ms * 16)
    sound = sound[: len(heard) - first]
    heard[first : first + len(sound)] = sound * 10 ** (level_db / 20)
    return heard


def listen(guard: EchoGuard, reply: Samples, microphone: Samples, *, begin_ms: float = 0.0) -> list[Cleaned]:
    """Reply and microphone from `begin_ms` on; positions of blocks are off by up to 10 ms."""
    offs = np.random.default_rng(5).uniform(-10, 10, len(reply) // BLOCK_SAMPLES + 1)
    reply_pcm, pcm = to_pcm(reply), to_pcm(microphone)
    sent, cleaned = 0, []
    for at in range(0, len(pcm) - WINDOW_BYTES + 1, WINDOW_BYTES):
        end_ms = (at + WINDOW_BYTES) / 32
        while sent < len(reply) and sent / 16 <= end_ms + AHEAD_MS:
            block = reply_pcm[2 * sent : 2 * (sent + BLOCK_SAMPLES)]
            guard.sent(block, begin_ms + sent / 16 + offs[sent // BLOCK_SAMPLES])
            sent += BLOCK_SAMPLES
        cleaned.append(guard.clean(pcm[at : at + WINDOW_BYTES], begin_ms + end_ms))
    return cleaned


def loud(sound: Samples, level: float = LOUD) -> Marks:
    whole = sound[: len(sound) // WINDOW_SAMPLES * WINDOW_SAMPLES].reshape(-1, WINDOW_SAMPLES)
    return np.asarray(np.sqrt(np.mean(np.square(whole), axis=1)) > level)


def echo_only(cleaned: list[Cleaned]) -> Marks:
    return np.array([window.echo_only for window in cleaned])


def with_noise(sound: Samples, level: float = 0.001) -> Samples:
    return sound + to_float(noise(len(sound) / 16, level))


@pytest.mark.parametrize("level_db", [-6, -12, -20])
@pytest.mark.parametrize("delay_ms", [20, 100, 250])
@pytest.mark.parametrize("reverberant", [False, True])
@pytest.mark.parametrize("noise_level", [0.0, 0.002])
def test_the_reply_come_back_is_echo(level_db: float, delay_ms: float, reverberant: bool, noise_level: float) -> None:
    heard = echo(REPLY, level_db, delay_ms, reverberant=reverberant)
    speech = loud(heard, 0.02 * 10 ** (level_db / 20))
    missed = speech & ~echo_only(listen(EchoGuard(), say(REPLY), with_noise(heard, noise_level)))
    assert speech.sum() > 60
    assert missed.sum() <= 3
    # The misses never last 96 ms together once the path is known.
    runs = np.convolve(missed[np.flatnonzero(speech)[0] + 5 :], np.ones(8), "valid")
    assert runs.max() < 3


@pytest.mark.parametrize("delay_ms", [-50, 400, 590])
def test_the_delay_may_be_anywhere_in_the_range(delay_ms: float) -> None:
    heard = echo(REPLY, -12, max(delay_ms, 0))[: len(say(REPLY))]
    if delay_ms < 0:
        heard = np.append(heard[-round(delay_ms * 16) :], np.zeros(800, np.float32)).astype(np.float32)
    missed = loud(heard) & ~echo_only(listen(EchoGuard(), say(REPLY), with_noise(heard)))
    assert missed.sum() <= 3


def test_what_is_only_echo_becomes_silence_and_its_room_with_it() -> None:
    heard = with_noise(echo(REPLY, -6, 100, reverberant=True))
    cleaned = listen(EchoGuard(), say(REPLY), heard)
    last = np.flatnonzero(loud(heard, 0.005))[-1]
    assert all(window.echo_only for window in cleaned[last - 10 :])  # the dying sound and the noise after it
    assert all(window.pcm == bytes(WINDOW_BYTES) for window in cleaned if window.echo_only)


@pytest.mark.parametrize("reverberant", [False, True])
@pytest.mark.parametrize(("near_db", "limit_ms"), [(10, 64), (5, 96), (0, 160)])
def test_speech_on_top_of_the_echo_is_heard_soon(reverberant: bool, near_db: float, limit_ms: float) -> None:
    """`limit_ms`: within what three windows of it are heard, from the first one that is loud."""
    heard, onset = echo(REPLY, -12, 100, reverberant=reverberant), 70 * WINDOW_SAMPLES
    speech = say(SPEECH, "en-us+f2")[: len(heard) - onset]
    level = np.sqrt(np.mean(np.square(heard[onset : onset + 16_000])) / np.mean(np.square(speech)))
    alone = np.zeros(len(heard), np.float32)
    alone[onset : onset + len(speech)] = 10 ** (near_db / 20) * level * speech
    cleaned = listen(EchoGuard(), say(REPLY), with_noise(heard + alone))
    first = np.flatnonzero(loud(alone))[0]
    found = np.flatnonzero(~echo_only(cleaned)[first:])
    assert (found[2] + 1) * 32 <= 96 + limit_ms
    # What is left is the speech, with less echo than before.
    rest = to_float(b"".join(window.pcm for window in cleaned))[onset:]
    left = rest - alone[onset : onset + len(rest)]
    spoken_over = np.repeat(~echo_only(cleaned), WINDOW_SAMPLES)[onset:]
    echoed = heard[onset : onset + len(rest)]
    assert np.square(left[spoken_over]).sum() < 0.5 * np.square(echoed[spoken_over]).sum()


@pytest.mark.parametrize("voice", ["en-us", "en-us+f2", "en-us+m3"])
def test_without_an_echo_speech_is_left_alone(voice: str) -> None:
    """Headphones; also with the very voice that answers."""
    alone = np.append(np.zeros(8000, np.float32), say(SPEECH, voice)).astype(np.float32)
    microphone = with_noise(alone)
    cleaned = listen(EchoGuard(), say(REPLY), microphone)
    speech = loud(alone)
    assert (speech & echo_only(cleaned)).sum() <= 1
    kept = [to_pcm(microphone)[at * WINDOW_BYTES : (at + 1) * WINDOW_BYTES] for at in np.flatnonzero(speech)]
    assert sum(cleaned[at].pcm == pcm for at, pcm in zip(np.flatnonzero(speech), kept, strict=True)) >= len(kept) - 1


@pytest.mark.parametrize("later_ms", [60, 180, 350])
def test_a_jump_of_the_delay_costs_few_windows(later_ms: float) -> None:
    """The playback stood still for a moment."""
    before, after = (echo(REPLY, -12, delay_ms, reverberant=True) for delay_ms in (50, later_ms))
    cut = 60 * WINDOW_SAMPLES
    heard = np.concatenate([before[:cut], after[cut:]])
    missed = loud(heard, 0.005) & ~echo_only(listen(EchoGuard(), say(REPLY), with_noise(heard)))
    assert missed[55:].sum() <= 3


def test_the_path_is_remembered_from_reply_to_reply() -> None:
    guard = EchoGuard()
    listen(guard, say(REPLY), with_noise(echo(REPLY, -12, 100, reverberant=True)))
    again = echo("I would really love a long holiday", -12, 160, reverberant=True)
    cleaned = listen(guard, say("I would really love a long holiday"), with_noise(again), begin_ms=60_000)
    missed = loud(again, 0.005) & ~echo_only(cleaned)
    assert missed.sum() <= 2


def test_long_after_the_reply_nothing_is_echo() -> None:
    guard = EchoGuard()
    heard = with_noise(echo(REPLY, -12, 100))
    listen(guard, say(REPLY), heard)
    end_ms = len(heard) / 16
    window = to_pcm(say(REPLY)[8000 : 8000 + WINDOW_SAMPLES])
    for number in range(40):
        cleaned = guard.clean(window, end_ms + 1000 + 32 * number)
        assert cleaned == Cleaned(window, echo_only=False)


@pytest.mark.parametrize("level", [0.0, 0.001])
def test_without_a_reply_the_window_passes(level: float) -> None:
    guard = EchoGuard()
    window = noise(32, level)
    assert guard.clean(window, 32.0) == Cleaned(window, echo_only=False)
    guard.sent(bytes(2048), 40.0)  # a block of silence
    assert guard.clean(window, 64.0) == Cleaned(window, echo_only=False)


def test_only_a_few_seconds_are_kept() -> None:
    guard = EchoGuard()
    for number in range(1000):
        guard.sent(noise(64, 0.1, seed=number % 7), 64.0 * number)
    end = 1000 * 64 * 16
    assert not guard._sent.read(end - 70_000, end - 64_000).any()
    assert guard._sent.read(end - 64_000, end - 63_000).all()
    assert len(guard._sent._ring) == 64_000
