"""Sample formats and rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_to_speech.audio.samples import Resampler, to_float, to_pcm
from speech_to_speech.frames import SAMPLE_RATE_HZ, AudioChunk, pcm_bytes, pcm_ms

RATES_HZ = [8_000, 11_025, 22_050, 24_000, 44_100, 48_000]


def sine(hz: float, rate_hz: int, duration_s: float = 0.7) -> bytes:
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    return to_pcm((0.5 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32))


def resample(pcm: bytes, rate_hz: int, chunk_bytes: int | None = None, target_hz: int = SAMPLE_RATE_HZ) -> bytes:
    resampler = Resampler(target_hz)
    size = chunk_bytes or len(pcm)
    chunks = [resampler.push(AudioChunk(pcm[at : at + size], rate_hz)) for at in range(0, len(pcm), size)]
    return b"".join(chunks) + resampler.finish()


@given(st.binary(max_size=200).filter(lambda pcm: len(pcm) % 2 == 0))
def test_pcm_survives_the_way_to_float_and_back(pcm: bytes) -> None:
    assert to_pcm(to_float(pcm)) == pcm


def test_float_samples_are_between_minus_one_and_one() -> None:
    samples = to_float(np.array([-32768, 0, 16384, 32767], dtype="<i2").tobytes())
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, 0.0, 0.5, 32767 / 32768]


def test_what_is_too_loud_is_clipped() -> None:
    samples = np.array([-2.0, -1.0, 1.0, 7.5], dtype=np.float32)
    assert np.frombuffer(to_pcm(samples), dtype="<i2").tolist() == [-32768, -32768, 32767, 32767]


def test_float_samples_are_rounded() -> None:
    samples = np.array([0.6, -0.6, 0.4, 1.4], dtype=np.float32) / 32768
    assert np.frombuffer(to_pcm(samples), dtype="<i2").tolist() == [1, -1, 0, 1]


def test_no_samples_are_no_bytes() -> None:
    assert to_pcm(np.zeros(0, dtype=np.float32)) == b""
    assert to_float(b"").shape == (0,)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("chunk_bytes", [2, 14, 510, 1024, 2646, 10_000])
def test_chunks_give_exactly_what_the_whole_gives(rate_hz: int, chunk_bytes: int) -> None:
    pcm = sine(440, rate_hz)
    assert resample(pcm, rate_hz, chunk_bytes) == resample(pcm, rate_hz)


def test_chunks_of_changing_size_give_exactly_what_the_whole_gives() -> None:
    rng = np.random.default_rng(0)
    pcm = to_pcm(rng.normal(0, 0.2, 22_050).astype(np.float32))
    resampler, at, resampled = Resampler(), 0, b""
    while at < len(pcm):
        size = 2 * int(rng.integers(0, 2000))
        resampled += resampler.push(AudioChunk(pcm[at : at + size], 22_050))
        at += size
    assert resampled + resampler.finish() == resample(pcm, 22_050)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_the_duration_stays(rate_hz: int) -> None:
    pcm = sine(440, rate_hz)
    assert pcm_ms(len(resample(pcm, rate_hz))) == pytest.approx(pcm_ms(len(pcm), rate_hz), abs=0.1)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_the_pitch_and_the_level_stay(rate_hz: int) -> None:
    heard = to_float(resample(sine(440, rate_hz), rate_hz))[1600:-1600]
    expected = to_float(sine(440, SAMPLE_RATE_HZ))[1600 : 1600 + len(heard)]
    assert np.abs(heard - expected).max() < 0.005


def test_what_the_lower_rate_can_not_hold_is_filtered_out() -> None:
    assert np.abs(to_float(resample(sine(10_000, 48_000), 48_000))[1600:-1600]).max() < 0.005


@pytest.mark.parametrize("chunk_bytes", [2, 1000, 10_000])
def test_audio_of_the_right_rate_passes_untouched(chunk_bytes: int) -> None:
    pcm = sine(440, SAMPLE_RATE_HZ)
    assert resample(pcm, SAMPLE_RATE_HZ, chunk_bytes) == pcm


def test_silence_stays_silence() -> None:
    assert not any(resample(bytes(20_000), 22_050))


def test_audio_of_the_right_rate_is_not_held_back() -> None:
    assert Resampler().push(AudioChunk(b"\1\2", SAMPLE_RATE_HZ)) == b"\1\2"


def test_the_target_can_be_another_rate() -> None:
    assert len(resample(sine(440, 16_000), 16_000, target_hz=48_000)) == pytest.approx(pcm_bytes(700, 48_000), abs=4)


def test_a_stream_can_not_change_its_rate() -> None:
    resampler = Resampler()
    resampler.push(AudioChunk(bytes(100), 22_050))
    with pytest.raises(ValueError, match="22050 Hz, not 24000"):
        resampler.push(AudioChunk(bytes(100), 24_000))


def test_a_stream_that_passes_through_can_not_change_its_rate() -> None:
    resampler = Resampler()
    resampler.push(AudioChunk(bytes(100), SAMPLE_RATE_HZ))
    with pytest.raises(ValueError, match="16000 Hz, not 24000"):
        resampler.push(AudioChunk(bytes(100), 24_000))


def test_a_stream_without_audio_ends_empty() -> None:
    assert Resampler().finish() == b""


def test_milliseconds_become_whole_samples() -> None:
    assert pcm_bytes(20) == 640
    assert pcm_bytes(0.1) == 4
    assert pcm_bytes(1, 22_050) == 44
    assert pcm_ms(640) == 20.0
