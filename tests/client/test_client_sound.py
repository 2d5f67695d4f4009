"""The client's live mode with a real sound server: a question is played into a microphone, a loudspeaker is recorded.

Debian packages: pulseaudio, pulseaudio-utils, libportaudio2, libasound2-plugins. No sound card is needed.
With REQUIRE_SOUND=1 a missing package is a failure. What the loudspeaker plays is also led back into
the microphone, as in a room.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from client_support import RATE_HZ, REPLY_HZ, ScriptedService, scripted, tone_rms, write_wav
from numpy.typing import NDArray
from service import Service, spoken

import audio_streaming_client as client

SERVER_MODULES = (
    "module-native-protocol-unix socket={socket} auth-anonymous=1",
    "module-null-sink sink_name=speaker rate=48000 channels=1",
    "module-null-sink sink_name=mic rate=48000 channels=1",
    "module-remap-source source_name=microphone master=mic.monitor",
)
ECHO = "module-loopback source=speaker.monitor sink=mic latency_msec=40"
ALSA_CONFIG = """
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
# The default, 35 ms, has gaps where the whole machine stands still for longer, as a machine does that shares its host.
PATIENT_SOUND_CARD = ("--output_latency_ms", "400")
PROGRAMS = {"pulseaudio": "pulseaudio", "pactl": "pulseaudio-utils"}


def missing() -> str:
    """What keeps this test from running, or nothing."""
    absent = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    absent += [] if ctypes.util.find_library("portaudio") else ["libportaudio2"]
    plugins = [*Path("/usr").glob("lib*/alsa-lib/*pcm_pulse.so"), *Path("/usr").glob("lib/*/alsa-lib/*pcm_pulse.so")]
    absent += [] if plugins else ["libasound2-plugins"]
    return f"not installed (Debian packages): {' '.join(absent)}" if absent else ""


@dataclass
class SoundServer:
    """A headless PulseAudio with a loudspeaker and a microphone of its own."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        folder = str(self.folder)
        where = {"HOME": folder, "XDG_RUNTIME_DIR": folder, "PULSE_RUNTIME_PATH": folder, "PULSE_STATE_PATH": folder}
        names = {"PULSE_SERVER": f"unix:{folder}/native", "ALSA_CONFIG_PATH": f"{folder}/asound.conf"}
        return keep | where | names | {"PULSE_SINK": "speaker", "PULSE_SOURCE": "microphone"}

    def call(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True, timeout=30).stdout

    def say(self, wav: Path) -> None:
        """Play a file into the microphone; returns when it was heard."""
        self.call("paplay", "--device=mic", str(wav))

    @contextlib.contextmanager
    def recording(self, device: str, channels: int = 1) -> Iterator[Callable[[], NDArray[np.int16]]]:
        """Record a device at 16 kHz; what is given returns the samples so far, those of all channels in turn."""
        path = self.folder / f"{device}.raw"
        command = [
            "parec",
            f"--device={device}",
            "--format=s16le",
            f"--rate={RATE_HZ}",
            f"--channels={channels}",
            "--latency-msec=50",
        ]
        with path.open("wb") as file, subprocess.Popen(command, env=self.env, stdout=file) as recorder:
            try:
                wait_for(lambda: path.stat().st_size > 0, "the recorder's first sound")
                yield lambda: np.frombuffer(path.read_bytes()[: path.stat().st_size // 2 * 2], np.int16)
            finally:
                recorder.terminate()


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not come within {timeout_s} s"
        time.sleep(0.05)  # the condition is in another program


@contextlib.contextmanager
def sound_server(*more_modules: str) -> Iterator[SoundServer]:
    if reason := missing():
        if os.environ.get("REQUIRE_SOUND") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as name:  # a short path: that of a unix socket has 107 bytes at most
        server = SoundServer(Path(name))
        (server.folder / "asound.conf").write_text(ALSA_CONFIG)
        command = [
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--use-pid-file=no",
            "--log-target=stderr",
        ]
        for module in (*SERVER_MODULES, *more_modules):
            command += ["-L", module.format(socket=server.folder / "native")]
        with (server.folder / "log").open("wb") as log:
            program = subprocess.Popen(command, env=server.env, stdout=log, stderr=log)
        try:

            def ready() -> bool:
                assert program.poll() is None, (server.folder / "log").read_text()
                with contextlib.suppress(subprocess.CalledProcessError):
                    return "microphone" in server.call("pactl", "list", "short", "sources")
                return False

            wait_for(ready, "the sound server")
            yield server
        finally:
            program.terminate()
            program.wait(10)


@pytest.fixture(scope="module")
def sound() -> Iterator[SoundServer]:
    with sound_server(ECHO) as server:
        yield server


@pytest.fixture(scope="module")
def question(sound: SoundServer) -> Path:
    speech = np.frombuffer(spoken("What time is it, please?", rate=150), np.int16)
    return write_wav(sound.folder / "question.wav", [speech])


@dataclass
class Program:
    """The client, running."""

    process: subprocess.Popen[str]
    log: Path

    def stop(self) -> str:
        """Press Ctrl-C; returns all that it printed."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(15) == 0
        return self.log.read_text()


@contextlib.contextmanager
def running(sound: SoundServer, url: str, *more: str) -> Iterator[Program]:
    log = sound.folder / "client.log"
    command = [sys.executable, client.__file__, "--api_url", url, *more]
    with log.open("w") as file:
        process = subprocess.Popen(command, env=sound.env, stdout=file, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lambda: "connected" in log.read_text() or process.poll() is not None, "the connection", 60)
        assert process.poll() is None, log.read_text()
        yield Program(process, log)
    finally:
        process.kill()
        process.wait()


def turn_of(sound: SoundServer, service: ScriptedService, question: Path, *more: str) -> tuple[NDArray[np.int16], str]:
    """Ask once; what the loudspeaker played and what the client printed."""
    with sound.recording("speaker.monitor") as played, running(sound, service.url, *more) as program:
        wait_for(lambda: service.connections and len(service.connections[0].audio) > 16_000, "the microphone")
        sound.say(question)
        wait_for(lambda: service.turns == 1, "the reply")
        after = len(service.connections[0].audio)
        wait_for(lambda: len(service.connections[0].audio) > after + 32_000, "the microphone after the reply")
        return played(), program.stop()


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_question_is_heard_and_reply_is_played(sound: SoundServer, question: Path, rate_hz: int) -> None:
    options = ("--sample_rate", str(rate_hz), *PATIENT_SOUND_CARD)
    with scripted(endpoint_s=0.5, think_s=0.3, reply_s=1.5) as service:
        played, printed = turn_of(sound, service, question, *options)
    seen = service.connections[0]

    # The question reached the service, once.
    heard = np.abs(seen.samples.astype(np.float64)).reshape(-1)
    assert np.sqrt(np.mean(heard**2)) > 100
    assert seen.turns == 1

    # The reply came out whole: as long and as loud as it was sent, and without gaps.
    loud = np.flatnonzero(np.abs(played) > 1000)
    assert len(loud) > 0
    assert (loud[-1] - loud[0]) / RATE_HZ == pytest.approx(1.5, abs=0.05)
    quiet = np.flatnonzero(np.diff(loud) >= RATE_HZ * 0.005)
    gaps = {f"at {(loud[at] - loud[0]) / RATE_HZ:.3f} s": f"{np.diff(loud)[at] / RATE_HZ:.4f} s" for at in quiet}
    assert not gaps
    assert tone_rms(played, REPLY_HZ) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)

    # Nothing of the reply came back, though the microphone heard it: the messages were empty while the reply played.
    late = [message for at_s, message in seen.in_turn if at_s > 0.3]
    assert len(late) > 10
    assert set(late) == {b""}
    assert np.abs(seen.samples[seen.done_at // 2 :].astype(np.int32)).max() < 10

    assert "you: what time is it\nreply: It is noon.\n" in printed
    assert re.search(r"^end to end +\d+ +\d+ +\d+$", printed, re.MULTILINE)
    assert "Traceback" not in printed


@pytest.mark.alone
@pytest.mark.long
def test_conversation_with_the_real_service(sound: SoundServer, question: Path) -> None:
    report = sound.folder / "report.json"
    with (
        Service(profile="embedded") as service,
        sound.recording("speaker.monitor") as played,
        running(sound, f"http://127.0.0.1:{service.port}", "--json", str(report)) as program,
    ):
        sound.say(question)
        wait_for(lambda: "latency" in program.log.read_text(), "the reply", 60)
        after = len(played())
        wait_for(lambda: len(played()) > after + 2 * RATE_HZ, "two seconds of silence")
        printed = program.stop()
        sounding = np.flatnonzero(np.abs(played().astype(np.int32)) > 200)
    (turn,) = json.loads(report.read_text())  # one turn: the client's own reply would have been a second question
    assert turn["heard"]
    assert turn["answered"]
    assert turn["turn_ended"]["outcome"] == "spoken"
    assert (sounding[-1] - sounding[0]) / RATE_HZ * 1000 == pytest.approx(turn["turn_ended"]["reply_ms"], abs=400)
    assert f"you: {turn['heard']}\nreply: " in printed
    assert turn["end_to_end_ms"] > turn["turn_ended"]["endpoint_ms"]


@pytest.mark.alone
@pytest.mark.long
def test_microphone_does_hear_the_loudspeaker(sound: SoundServer, question: Path) -> None:
    """So that the test above cannot pass because of a broken room."""
    with scripted(endpoint_s=0.5, reply_s=1.0) as service, sound.recording("microphone") as heard:
        turn_of(sound, service, question)
        assert tone_rms(heard(), REPLY_HZ) > 0.1


def test_devices_are_listed(sound: SoundServer) -> None:
    assert "default" in sound.call(sys.executable, client.__file__, "--list_devices")


def test_unknown_device_is_one_line(sound: SoundServer) -> None:
    command = [sys.executable, client.__file__, "--api_url", "ws://localhost:9", "--input_device", "no such thing"]
    done = subprocess.run(command, env=sound.env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert (
        "error: cannot open the sound card: No input device matching 'no such thing'; see --list_devices" in done.stderr
    )
    assert "Traceback" not in done.stderr
