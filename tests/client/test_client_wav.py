"""The WAV files that the client reads and writes."""

import struct
from pathlib import Path

import numpy as np
import pytest
from client_support import tone, write_wav

import audio_streaming_client
from speech_to_speech.client.wav import read_wav


def riff(
    tag: int, bits: int, data: bytes, rate_hz: int = 16_000, channels: int = 1, data_size: int | None = None
) -> bytes:
    frame = channels * bits // 8
    layout = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame, frame, bits)
    if tag == 0xFFFE:
        layout += struct.pack("<HHIH", 22, bits, 0, 1) + bytes(14)
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(data) if data_size is None else data_size) + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def main(question: Path, reply: Path) -> int:
    files = ("--input", str(question), "--output", str(reply))
    return audio_streaming_client.main(["--api_url", "ws://localhost:9", *files])


def encoded(samples: np.ndarray, bits: int) -> bytes:
    """Samples between -1 and 1 as PCM."""
    if bits == 8:
        return np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    whole = np.round(samples * (2.0 ** (bits - 1) - 1)).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("tag", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (0xFFFE, 24), (0xFFFE, 16), (3, 32)])
def test_wav_of_every_kind(tag: int, bits: int, channels: int, rate_hz: int, tmp_path: Path) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    both = np.repeat(wave, channels)
    data = both.astype("<f4").tobytes() if tag == 3 else encoded(both, bits)
    path = tmp_path / "a.wav"
    path.write_bytes(riff(tag, bits, data, rate_hz, channels))
    samples = read_wav(path)
    assert samples.dtype == np.int16
    assert abs(len(samples) - 16_000) <= 2
    expected = 0.5 * 32768 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / 16_000)
    middle = slice(1000, -1000)  # the resampler changes the edges
    assert np.abs(samples[middle] - expected[middle]).max() < (300 if bits == 8 else 20)


def test_wav_of_a_stream_claims_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(1, 16, tone(0.1).tobytes() + b"x", data_size=0x7FFFF000))
    assert np.array_equal(read_wav(path), tone(0.1))


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (None, "cannot read"),
        (b"", "not a WAV file"),
        (b"ID3 music", "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "damaged"),
        (riff(1, 16, b""), "no sound"),
        (riff(1, 12, b"1234"), "not supported"),
        (riff(1, 16, b"1234", rate_hz=0), "damaged"),
        (riff(1, 16, b"1234", channels=0), "damaged"),
        (riff(6, 8, b"1234"), "not supported"),
        (riff(3, 16, b"1234"), "not supported"),
    ],
)
def test_unreadable_input_is_one_line(
    content: bytes | None, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    assert main(path, tmp_path / "reply.wav") == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("place", ["", "missing/reply.wav"])
def test_output_that_cannot_be_written(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write_wav(tmp_path / "a.wav", [tone(0.2)]), tmp_path / place) == 2
    assert capsys.readouterr().err.startswith("error: cannot write --output")
