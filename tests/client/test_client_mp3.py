"""The console client in MP3, against the real service."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from client_support import ask, read_pcm, write_wav
from mp3_support import decode, encode
from service import Service, main_hz, utterance

from speech_to_speech.audio.mp3 import BLOCK_BYTES, FRAME_BYTES, PRIMING_MS
from speech_to_speech.client import wav
from speech_to_speech.client.codec import FLUSH, Compression, Mp3
from speech_to_speech.errors import BadAudio
from speech_to_speech.frames import pcm_bytes


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.mark.parametrize("flags", [[], ["--full_duplex"]])
def test_the_client_in_mp3(
    service: Service,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wav, "TRAILING_SILENCE_S", 0.5)
    write_wav(tmp_path / "question.wav", [np.frombuffer(utterance(600), np.int16)])
    assert ask(service.url(), tmp_path, "--codec", "mp3", *flags) == 0
    [turn] = json.loads((tmp_path / "report.json").read_text())
    assert 0 < turn["stt_ms"] + turn["end_to_end_ms"] < 3000
    reply_ms = turn["turn_ended"]["reply_ms"]
    assert turn["received_ms"] == pytest.approx(reply_ms, abs=0.1)
    assert turn["turn_ended"]["heard_ms"] == pytest.approx(reply_ms, abs=BLOCK_BYTES / 32)
    reply = read_pcm(tmp_path / "reply.wav")
    assert len(reply) / 16 == pytest.approx(reply_ms, abs=0.1)
    assert main_hz(reply.tobytes()) == pytest.approx(600, abs=5)
    ratios = re.findall(r"^mp3 (?:sent|received) .*\((\d\.\d):1\)$", capsys.readouterr().out, re.MULTILINE)
    assert [float(ratio) for ratio in ratios] == [pytest.approx(4, abs=0.2)] * 2


def test_a_client_without_pyav_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert ask("ws://127.0.0.1:1", tmp_path, "--codec", "mp3") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --codec mp3 needs PyAV: `make install-mp3`")
    assert error.count("\n") == 1


def test_shutting_the_microphone_drives_out_what_the_encoder_holds() -> None:
    codec, said = Mp3(Compression(), 64), utterance(600)[: 20 * FRAME_BYTES]
    sent = [*codec.encode(said), *codec.encode(b""), *codec.encode(b""), *codec.encode(said)]
    assert [sound for sound, _ in sent] == [said, FLUSH, b"", b"", said]
    assert [message for _, message in sent][2:4] == [b"", b""]
    before = b"".join(message for _, message in sent[:2])
    assert len(decode(before)[0]) >= pcm_bytes(PRIMING_MS) + len(said)


def test_a_damaged_reply_is_told_and_the_next_one_heard() -> None:
    codec, sound = Mp3(Compression(), 64), utterance(600)[: 20 * BLOCK_BYTES]
    with pytest.raises(BadAudio, match="no MP3 frame"):
        b"".join(codec.decode(b"no MP3 at all" * 10))
    codec.end_reply()
    assert len(b"".join(codec.decode(encode(sound)))) == len(sound)
