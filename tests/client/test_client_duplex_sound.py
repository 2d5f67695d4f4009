"""Talking over a reply, with a real sound server and the real service: how long does the loudspeaker go on?

Needs what test_client_sound.py needs. Nothing leads from the loudspeaker back to the microphone, as with headphones.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from client_support import RATE_HZ, write_wav
from numpy.typing import NDArray
from service import Service, spoken
from test_client_sound import SoundServer, running, sound_server, wait_for

pytestmark = [pytest.mark.alone, pytest.mark.long]

# One recording has the microphone and the loudspeaker, so that times can be compared.
OBSERVER = (
    "module-null-sink sink_name=room rate=48000 channels=2 channel_map=front-left,front-right",
    "module-remap-sink sink_name=left master=room channels=1 channel_map=mono master_channel_map=front-left remix=no",
    "module-remap-sink sink_name=right master=room channels=1 channel_map=mono master_channel_map=front-right remix=no",
    "module-loopback source=mic.monitor sink=left latency_msec=20",
    "module-loopback source=speaker.monitor sink=right latency_msec=20",
)
# No pause within the sentences ends them, and the reply is a buzz of five seconds without a gap.
PATIENT = ("--min_silence_ms", "500")
STEADY = ("--models", "fakes", "--tts", "scripted", "--scripted_reply_s", "2.5")
QUESTION = "I would really love a long holiday near the sea"
OBJECTION = "I would rather talk about the mountains now"
LOUD = 200

Samples = NDArray[np.int16]


@pytest.fixture
def sound() -> Iterator[SoundServer]:
    with sound_server(*OBSERVER) as server:
        yield server


def speech(sound: SoundServer, text: str) -> Path:
    return write_wav(sound.folder / f"{len(text)}.wav", [np.frombuffer(spoken(text), np.int16)])


def loud(samples: Samples) -> NDArray[np.intp]:
    """Where there is sound."""
    return np.flatnonzero(np.abs(samples.astype(np.int32)) > LOUD)


def place_of(part: Samples, whole: Samples) -> int:
    """Where in `whole` the sound `part` begins, whatever else is there."""
    size = len(part) + len(whole)
    spectrum = np.fft.rfft(whole, size) * np.fft.rfft(part, size).conj()
    return int(np.fft.irfft(spectrum, size)[: len(whole)].argmax())


def stop_of(recorded: Samples) -> tuple[float, float]:
    """From the objection to the silence of the loudspeaker, and how much had sounded by then; milliseconds."""
    microphone, loudspeaker = recorded[: len(recorded) // 2 * 2 : 2], recorded[1::2]
    spoken_at = place_of(np.frombuffer(spoken(OBJECTION), np.int16), microphone)
    sounding = loud(loudspeaker)
    last = np.flatnonzero(np.diff(sounding, append=len(loudspeaker)) > 0.4 * RATE_HZ)[0]
    return (sounding[last] - spoken_at) / RATE_HZ * 1000, last / RATE_HZ * 1000


def test_speaking_over_a_reply_stops_it(sound: SoundServer) -> None:
    report = sound.folder / "report.json"
    with (
        Service(*PATIENT, *STEADY, profile="loadtest") as service,
        sound.recording("room.monitor", channels=2) as recorded,
        running(sound, f"http://127.0.0.1:{service.port}", "--full_duplex", "--json", str(report)) as program,
    ):
        sound.say(speech(sound, QUESTION))
        wait_for(lambda: len(loud(recorded()[1::2])) > 0.7 * RATE_HZ, "the reply")
        sound.say(speech(sound, OBJECTION))
        wait_for(lambda: program.log.read_text().count("latency in ms") == 2, "the reply to the objection", 60)
        printed = program.stop()
        stop_ms, heard_ms = stop_of(recorded())
    first, second = json.loads(report.read_text())
    print(f"stopped {stop_ms:.0f} ms after speech began, by the client's count {first['stop_ms']:.0f};")
    print(f"heard {heard_ms:.0f} ms, by the client's count {first['heard_ms']:.0f}, by the service's", end=" ")
    print(f"{first['turn_ended']['heard_ms']:.0f}; received {first['received_ms']:.0f}")
    assert 0 < stop_ms < 600
    assert stop_ms - 300 < first["stop_ms"] < stop_ms + 50  # the client's count begins after the microphone's latency
    assert first["interrupted"]
    assert first["heard_ms"] == pytest.approx(heard_ms, abs=40)
    assert first["turn_ended"]["outcome"] == "interrupted"
    assert first["turn_ended"]["heard_ms"] == pytest.approx(first["heard_ms"], abs=100)
    assert not second["interrupted"]
    assert second["turn_ended"]["outcome"] == "spoken"
    assert "\ninterrupted after " in printed
    assert "Traceback" not in printed
