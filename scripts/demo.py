"""Speak a question to the service and hear its answer: `make demo`.

Starts the service on a free loopback port with its embedded models, has a question synthesised, sends it with the
project's own client, prints what happened, and leaves question.wav and reply.wav in `demo/`.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path

from speech_to_speech.audio.samples import Resampler
from speech_to_speech.frames import SAMPLE_RATE_HZ, SpeakRequest
from speech_to_speech.tts.espeak import ESpeak
from speech_to_speech.workers.model import ListJob

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "demo"
QUESTION = "I need some help with my computer"
START_TIMEOUT_S = 60.0
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
STEPS = {
    "transcript_ms": "words known",
    "first_text_ms": "reply begun",
    "first_audio_made_ms": "first audio made",
    "endpoint_ms": "certain that it was the end",
    "first_audio_sent_ms": "first audio sent",
}


def write_question(path: Path) -> None:
    """Have eSpeak NG speak the question, as a 16 kHz mono WAV."""
    voice = ESpeak(ESpeak.Options(espeak_rate=150))
    voice.load()
    job = ListJob(SpeakRequest(QUESTION, "en"))
    voice.run([job])
    resampler = Resampler()
    pcm = b"".join(resampler.push(chunk) for chunk in job.outputs) + resampler.finish()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm)


@contextlib.contextmanager
def service(log: Path) -> Iterator[str]:
    """The service on a free port, healthy; its base URL. It is stopped at the end."""
    command = [sys.executable, str(ROOT / "webservice_starlette.py"), "--profile", "embedded", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("S2S_")}
    with log.open("w") as output, subprocess.Popen(command, stderr=output, env=environment) as process:
        try:
            yield wait_healthy(process, log)
        finally:
            process.terminate()


def wait_healthy(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if address := re.search(r"listening on (http://\S+)", log.read_text()):
            with contextlib.suppress(urllib.error.URLError), LOCAL.open(f"{address[1]}/health"):
                return address[1]
        time.sleep(0.05)
    sys.exit(f"the service did not start; the end of {log}:\n{log.read_text()[-1000:]}")


def main() -> None:
    DEMO.mkdir(exist_ok=True)
    question, reply, report = DEMO / "question.wav", DEMO / "reply.wav", DEMO / "report.json"
    for old in (reply, report):
        old.unlink(missing_ok=True)
    write_question(question)
    started = time.monotonic()
    with service(DEMO / "service.log") as url:
        print(f"service healthy after {time.monotonic() - started:.1f} s at {url}")
        client = [sys.executable, str(ROOT / "audio_streaming_client.py"), "--api_url", url]
        files = ["--input", str(question), "--output", str(reply), "--json", str(report)]
        talk = subprocess.run([*client, *files], capture_output=True, text=True, timeout=120)
    if talk.returncode:
        sys.exit(f"the client failed:\n{talk.stdout}{talk.stderr}")
    for turn in json.loads(report.read_text()):
        if turn["error"] or not turn["turn_ended"]:
            sys.exit(f"the turn failed: {turn['error']}")
        show(turn["heard"], turn["answered"], turn["turn_ended"])
    print(f"\nlisten: {question.relative_to(ROOT)}, {reply.relative_to(ROOT)}")


def show(heard: str, answered: str, record: dict[str, float]) -> None:
    """Print one turn: words, and where the time went."""
    print(f"\n  spoken    {QUESTION}")
    print(f"  heard     {heard}")
    print(f"  answered  {answered}\n")
    print("  ms after the end of speech")
    for step, name in sorted(STEPS.items(), key=lambda item: record[item[0]]):
        print(f"  {name:<30}{record[step]:>8.1f}")


if __name__ == "__main__":
    main()
