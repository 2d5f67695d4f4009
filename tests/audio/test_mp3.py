"""MP3 as a stream: what goes in comes out, in any pieces, and what is wrong is told."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from mp3_support import decode, encode, mp3_file, snr_db
from service import main_hz, rms, tone
from speech import spoken

from speech_to_speech.audio.mp3 import (
    BLOCK_BYTES,
    BLOCK_MS,
    FRAME_BYTES,
    HELD_MS,
    PRIMING_SAMPLES,
    PULL_FRAMES,
    Mp3Decoder,
    Mp3Encoder,
)
from speech_to_speech.audio.mp3_frames import GARBAGE_BYTES, HIGH_KBPS, LOW_KBPS, RATES_HZ, frame_header
from speech_to_speech.audio.samples import to_float, to_pcm
from speech_to_speech.errors import BadAudio
from speech_to_speech.frames import SAMPLE_RATE_HZ, pcm_ms
from speech_to_speech.wire.ws.messages import BITRATES_KBPS, LONGEST_BLOCK_MS, SHORTEST_BLOCK_MS

TEXT = "What do you think about a long holiday near the sea?"
FRAME = 288  # bytes at 64 kbps
RATES = sorted(rate for rates in RATES_HZ.values() for rate in rates)


def speech() -> bytes:
    pcm = spoken(TEXT)
    return pcm[: len(pcm) // BLOCK_BYTES * BLOCK_BYTES]


# There and back.


def test_sound_comes_back_to_the_sample() -> None:
    pcm = speech()
    stream = encode(pcm)
    sound, errors = decode(stream, skip_samples=PRIMING_SAMPLES)
    assert errors == []
    assert len(sound) == len(pcm)
    assert snr_db(pcm, sound) > 20
    assert len(pcm) / len(stream) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("size", [2, 100, FRAME_BYTES - 2, FRAME_BYTES, FRAME_BYTES + 2, 3 * FRAME_BYTES - 100])
def test_what_is_no_whole_frame_is_filled_up_with_silence(size: int) -> None:
    pcm = to_pcm(tone(300, 10_000, 0.3))[100 : 100 + size]
    sound, errors = decode(encode(pcm), skip_samples=PRIMING_SAMPLES)
    assert errors == []
    assert len(sound) == -(-size // FRAME_BYTES) * FRAME_BYTES
    assert snr_db(pcm, sound) > 5  # almost no sound, cut off sharply, is smeared


def test_nothing_is_nothing() -> None:
    assert Mp3Encoder().finish() == b""
    assert Mp3Decoder().pull() is None
    assert Mp3Decoder().stop() is None


def test_the_end_of_the_sound_is_there() -> None:
    pcm = bytes(BLOCK_BYTES * 5) + to_pcm(tone(500, BLOCK_BYTES // 2, 0.3))
    sound, _ = decode(encode(pcm), skip_samples=PRIMING_SAMPLES)
    assert rms(sound[-FRAME_BYTES // 2 :]) == pytest.approx(rms(pcm[-FRAME_BYTES // 2 :]), rel=0.1)


@pytest.mark.parametrize("sizes", [[2], [320], [1024, 2, 30_000], [BLOCK_BYTES]])
def test_pieces_of_any_size_make_the_same_stream(sizes: Sequence[int]) -> None:
    pcm, encoder, stream, at = speech(), Mp3Encoder(), b"", 0
    for size in itertools.cycle(sizes):
        stream += encoder.push(pcm[at : at + size])
        at += size
        if at >= len(pcm):
            break
    assert stream + encoder.finish() == encode(pcm)


@pytest.mark.parametrize("piece", [1, 7, FRAME - 1, FRAME, FRAME + 1, 1 << 20])
def test_pieces_of_any_size_make_the_same_sound(piece: int) -> None:
    stream = encode(speech())
    assert decode(stream, piece) == decode(stream, 1000)


def test_of_whole_blocks_the_encoder_holds_what_it_says() -> None:
    encoder, sound_ms, held = Mp3Encoder(), 0.0, []
    decoder = Mp3Decoder(PRIMING_SAMPLES)
    for number in range(1, 9):
        decoder.push(encoder.push(bytes(BLOCK_BYTES)))
        sound_ms += pcm_ms(len(decoder.pull() or b""))
        held.append(pcm_ms(number * BLOCK_BYTES) - sound_ms)
    assert held == [72, *[HELD_MS] * 7]


def test_replies_go_out_in_blocks_that_the_protocol_allows() -> None:
    assert SHORTEST_BLOCK_MS <= BLOCK_MS <= LONGEST_BLOCK_MS


@pytest.mark.parametrize("kbps", BITRATES_KBPS)
def test_every_bitrate_is_made(kbps: int) -> None:
    stream = encode(bytes(SAMPLE_RATE_HZ * 2), kbps)
    assert len(stream) * 8 / 1000 == pytest.approx(kbps, rel=0.05)
    assert decode(stream)[1] == []


# Streams of other encoders.


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_mono_or_stereo(rate_hz: int, channels: int) -> None:
    samples = (0.3 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype(np.float32)
    sound, errors = decode(mp3_file(samples, rate_hz, channels))
    assert errors == []
    assert main_hz(sound) == pytest.approx(440, abs=2)
    assert 1000 < pcm_ms(len(sound)) < 1000 + 4 * 144  # up to four frames come before and after the sound
    assert rms(sound) == pytest.approx(0.3 / 2**0.5, rel=0.2)


def test_one_file_after_another_of_another_rate() -> None:
    files = [mp3_file(tone(440, rate, 0.3), rate) for rate in (16_000, 44_100, 8_000)]
    sound, errors = decode(b"".join(files))
    assert errors == []
    assert 3000 < pcm_ms(len(sound)) < 3700


def test_tags_in_pieces_are_left_out() -> None:
    stream = mp3_file(tone(440, 16_000, 0.3))
    assert stream.startswith(b"ID3")
    assert stream[-128:].startswith(b"TAG")
    assert decode(stream, 1) == decode(stream)


@pytest.mark.parametrize(
    ("header", "size"),
    [("fffb9064", 417), ("fffb9264", 418), ("fff38864", 288), ("ffe31864", 72), ("fff3e864", 720)],
)
def test_the_length_of_a_frame(header: str, size: int) -> None:
    found = frame_header(bytes.fromhex(header))
    assert found is not None
    assert found.size == size


@pytest.mark.parametrize(
    "header",
    ["fffb0064", "fffbf064", "fffb9c64", "ffeb9064", "fffd9064", "fff19064", "fffb9066", "7ffb9064", "ff", ""],
    ids=["free", "bitrate", "rate", "version", "layer 2", "aac", "emphasis", "sync", "short", "empty"],
)
def test_what_is_no_header(header: str) -> None:
    assert frame_header(bytes.fromhex(header)) is None


def test_there_are_fourteen_bitrates() -> None:
    assert len(LOW_KBPS) == len(HIGH_KBPS) == 14


# Streams that are damaged, or no MP3.


def test_damage_is_told_once_and_the_rest_is_heard() -> None:
    pcm = speech()
    stream = encode(pcm)
    cut = 20 * FRAME + 100
    sound, errors = decode(stream[:cut] + stream[cut + 50 :])
    assert [error.code for error in errors] == ["bad_audio"]
    lost = len(decode(stream)[0]) - len(sound)
    assert 0 < lost <= 2 * FRAME_BYTES
    tail = len(pcm) // 2 // FRAME_BYTES * FRAME_BYTES
    assert snr_db(pcm[-tail:], sound[-tail:]) > 20


@pytest.mark.parametrize("noise_bytes", [1, 300, 3000])
def test_noise_between_frames_is_told_once(noise_bytes: int) -> None:
    stream, noise = encode(speech()), np.random.default_rng(1).bytes(noise_bytes)
    sound, errors = decode(stream[: 20 * FRAME] + noise + stream[20 * FRAME :])
    assert len(errors) == 1
    assert len(sound) >= len(decode(stream)[0]) - 2 * FRAME_BYTES


@pytest.mark.parametrize(
    "begins",
    [b"RIFF\x24\xa0\x00\x00WAVEfmt ", b"OggS\x00\x02OpusHead", b"\x1aE\xdf\xa3webm", b"\xff\xf1\x50\x80aac"],
    ids=["wav", "opus", "webm", "aac"],
)
def test_another_format_is_no_mp3(begins: bytes) -> None:
    content = begins + speech()[: 3 * GARBAGE_BYTES]
    sound, errors = decode(content)
    assert sound == b""
    assert len(errors) == 4
    assert begins[:4].hex(" ") in str(errors[0])
    assert {error.code for error in errors} == {"bad_audio"}


def test_a_frame_that_cannot_be_decoded_is_told() -> None:
    stream = encode(speech())
    frame = stream[20 * FRAME : 21 * FRAME]
    torn = frame[:4] + b"\xff" * (FRAME - 4)  # the frame's side information is nonsense
    decoder = Mp3Decoder()
    decoder.push(stream[: 20 * FRAME] + torn + stream[21 * FRAME :])
    told = []
    while True:
        try:
            if decoder.pull() is None:
                break
        except BadAudio as error:
            told.append(str(error))
    assert told == ["an MP3 frame can't be decoded"]


def test_a_stream_that_stops_in_mid_frame_is_told_and_may_go_on() -> None:
    stream = encode(speech())
    decoder = Mp3Decoder()
    decoder.push(stream[: 10 * FRAME + 100])
    assert len(decoder.pull() or b"") == PULL_FRAMES * FRAME_BYTES
    assert len(decoder.pull() or b"") == 2 * FRAME_BYTES
    assert decoder.pull() is None
    assert isinstance(decoder.stop(), BadAudio)
    assert decoder.stop() is None  # the error is told once
    decoder.push(stream[10 * FRAME + 100 : 14 * FRAME])  # the same stream goes on: it had only waited
    assert len(decoder.pull() or b"") == 3 * FRAME_BYTES
    assert decoder.pull() is None
    decoder.push(stream[14 * FRAME : 14 * FRAME + 100])
    assert isinstance(decoder.stop(), BadAudio)
    decoder.push(stream[: 5 * FRAME])  # another stream begins
    assert len(decoder.pull() or b"") == 5 * FRAME_BYTES


def test_minutes_in_one_message_come_in_small_steps() -> None:
    stream = encode(bytes(60 * 2 * SAMPLE_RATE_HZ), 8)
    decoder, steps = Mp3Decoder(), []
    decoder.push(stream)
    while (pcm := decoder.pull()) is not None:
        steps.append(pcm_ms(len(pcm)))
    assert sum(steps) >= 60_000
    assert max(steps) == PULL_FRAMES * 36


@pytest.mark.parametrize("garbage", [b"\xff", b"\xff\xfb\x92\x00", b"\0", b"ID3\x04\0\0\x7f\x7f\x7f\x7f"])
def test_no_garbage_is_sound_or_stays_in_memory(garbage: bytes) -> None:
    decoder = Mp3Decoder()
    for _ in range(50):
        decoder.push(garbage * 2000)
        while True:
            try:
                if (pcm := decoder.pull()) is None:
                    break
                assert not to_float(pcm).any()
            except BadAudio:
                pass
        assert len(decoder._splitter._buffer) <= 1445 + 4
