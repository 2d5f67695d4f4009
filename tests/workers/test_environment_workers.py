"""A backend in an environment of its own, whatever happens to its process: a typed error or a clear line, nothing is
left running, and the next turn speaks."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from service import Service, children_of, eventually, process_gone, resident_mib, spoken, wait_until

from speech_to_speech.config.registry import BACKENDS
from speech_to_speech.config.settings import load_settings
from speech_to_speech.errors import SettingsError, StageFailed, StageTimeout, WorkerDied
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.service.workers import make_worker
from speech_to_speech.workers.environments.environment import FOLDER_VARIABLE, MARKER, Environment
from speech_to_speech.workers.environments.making import create
from speech_to_speech.workers.request import Claim
from speech_to_speech.workers.worker import Worker

pytestmark = pytest.mark.anyio
SUPPORT = Path(__file__).parents[1] / "support"
FLAGS = ["--models", "own_voice", "--tts", "own_voice", "--stt", "loadtest", "--llm", "loadtest", "--turn", "none"]
SPEECH = ["--models", "own_voice", "--tts", "own_voice"]
QUESTION = spoken("What a nice day it is") + bytes(48_000)


@pytest.fixture(scope="module", autouse=True)
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One environment without any package, for all tests."""
    folder = tmp_path_factory.mktemp("environments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        create(Environment.of(SUPPORT / "own_voice.txt"), str)
        yield folder
    BACKENDS.pop(("tts", "own_voice"), None)  # this process learnt the backend with the settings
    sys.modules.pop("own_voice", None)


@contextlib.asynccontextmanager
async def voice(*flags: str) -> AsyncIterator[Worker[SpeakRequest, AudioChunk]]:
    worker = make_worker("tts", load_settings([*FLAGS, *flags], {}))
    try:
        await worker.start()
        yield worker
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()


async def say(worker: Worker[SpeakRequest, AudioChunk], text: str, name: str = "") -> list[AudioChunk]:
    async with worker.open(SpeakRequest(text, "en"), Claim(name=name)) as chunks:
        return [chunk async for chunk in chunks]


async def still_speaks(worker: Worker[SpeakRequest, AudioChunk]) -> None:
    assert len(await say(worker, "one two three")) == 3
    assert worker.healthy


async def test_the_process_has_only_the_worker_of_this_package_and_nothing_else(environments: Path) -> None:
    async with voice() as worker:
        with pytest.raises(StageFailed) as told:
            await say(worker, "modules")
        prefix, *modules = told.value.message.split()
        assert Path(prefix) == environments / "own_voice"
        roots = {name.partition(".")[0] for name in modules}
        assert roots - {"__main__", "__mp_main__"} == {"own_voice", "speech_to_speech"}
        assert {name for name in modules if name.startswith("speech_to_speech.")} == {
            "speech_to_speech.workers",
            "speech_to_speech.workers.child_output",
            "speech_to_speech.workers.model",
            "speech_to_speech.workers.environments",
            "speech_to_speech.workers.environments.environment",
            "speech_to_speech.errors",
            "speech_to_speech.frames",
            "speech_to_speech.config",
            "speech_to_speech.config.registry",
        }
        with pytest.raises(StageFailed, match="ModuleNotFoundError"):
            await say(worker, "imports")  # the service has numpy, the environment has not
        await still_speaks(worker)


@pytest.mark.alone
async def test_a_cancel_is_seen_within_a_chunk(environments: Path) -> None:
    async with voice("--own_voice_wait_s", "0.1") as worker:
        async with worker.open(SpeakRequest("word " * 200, "en")) as chunks:
            await anext(chunks)
            await anext(chunks)
        started = time.monotonic()
        await still_speaks(worker)  # this request makes three chunks
        assert time.monotonic() - started < 1.0


async def test_a_process_killed_in_mid_sentence() -> None:
    async with voice() as worker:
        pid = worker.model.pid
        with pytest.raises(WorkerDied):
            await say(worker, "one two die three")
        await eventually(lambda: process_gone(pid), "it is gone")
        await still_speaks(worker)


async def test_a_process_that_hangs() -> None:
    async with voice("--tts_timeout_s", "1.5") as worker:
        pid = worker.model.pid
        with pytest.raises(StageTimeout):
            await say(worker, "one hang")
        await eventually(lambda: process_gone(pid), "it is killed")
        await still_speaks(worker)


async def test_a_process_that_floods_its_log(caplog: pytest.LogCaptureFixture) -> None:
    async with voice() as worker:
        with caplog.at_level(logging.INFO):
            assert len(await say(worker, "one flood two", "a-1")) == 2
            await eventually(lambda: "lines of its output were left out" in caplog.text, "the rest is counted")
        lines = [record for record in caplog.records if record.name == "speech_to_speech.workers.child_output"]
        assert len(lines) < 5000
        await still_speaks(worker)


async def test_what_it_logs_has_the_turns_it_works_for(caplog: pytest.LogCaptureFixture) -> None:
    async with voice() as worker:
        with caplog.at_level(logging.INFO):
            await say(worker, "log", "session-7")
            await eventually(lambda: "printed" in caplog.text, "all is there")
        pid = worker.model.pid
        records = {record.getMessage(): record.levelname for record in caplog.records}
        assert records[f"tts (pid {pid}) session-7 own_voice: a warning of the voice"] == "WARNING"
        assert f"tts (pid {pid}): printed" in records


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process takes")
async def test_a_process_that_takes_memory_without_bound(caplog: pytest.LogCaptureFixture) -> None:
    async with voice("--worker_memory_gb", "0.4") as worker:
        pid = worker.model.pid
        with pytest.raises(WorkerDied):
            await say(worker, "one grow")
        await eventually(lambda: "its bound is 0.4 (worker_memory_gb): it is ended" in caplog.text, "it is told")
        assert process_gone(pid)
        await still_speaks(worker)
        assert resident_mib(worker.model.pid) < 100


async def test_an_environment_that_goes_stale_works_on_and_is_refused_at_the_next_start(environments: Path) -> None:
    marker = environments / "own_voice" / MARKER
    kept = marker.read_text()
    try:
        async with voice() as worker:
            marker.write_text(kept.replace('"requirements": "', '"requirements": "0'))
            with pytest.raises(WorkerDied):
                await say(worker, "die")
            await still_speaks(worker)
        with pytest.raises(SettingsError, match=r"own_voice was made for other requirements.* env create own_voice"):
            load_settings(FLAGS, {})
        marker.unlink()
        with pytest.raises(SettingsError, match="own_voice was not finished"):
            load_settings(FLAGS, {})
    finally:
        marker.write_text(kept)


async def test_an_environment_that_vanishes_is_a_failure_to_restart(
    environments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech_to_speech.workers.worker.RESTART_BACKOFF_S", (0.0, 0.1))
    folder, hidden = environments / "own_voice", environments / "hidden"
    async with voice("--tts_timeout_s", "1.5") as worker:
        folder.rename(hidden)
        try:
            with pytest.raises(WorkerDied):
                await say(worker, "die")
            await eventually(lambda: not worker.healthy, "it shows")
        finally:
            hidden.rename(folder)
        await still_speaks(worker)


async def test_it_cant_be_a_thread() -> None:
    with pytest.raises(SettingsError, match="tts own_voice has an environment of its own, so it is a process"):
        make_worker("tts", load_settings([*FLAGS, "--tts_worker", "thread"], {}))


# Whole services.


def worker_pids(service: Service) -> list[int]:
    return [pid for pid in children_of(service.pid) if b"bootstrap.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_turn_whose_voice_dies_has_an_error_and_the_next_one_speaks() -> None:
    with Service(*SPEECH, "--own_voice_wait_s", "0.2") as service:
        (pid,) = worker_pids(service)
        async with service.talk() as talk:
            await talk.send(QUESTION)
            while isinstance(await talk.websocket.recv(), str):
                pass  # events come before the first sound
            os.kill(pid, signal.SIGKILL)
            cut = await talk.reply()
            assert [(error["code"], error["stage"]) for error in cut.events if error["type"] == "error"] == [
                ("worker_died", "tts")
            ]
            assert (await talk.turn(QUESTION)).audio
        assert worker_pids(service) not in ([], [pid])


async def test_two_services_share_an_environment_and_their_processes_end_with_them() -> None:
    with Service(*SPEECH) as one, Service(*SPEECH) as other:
        pids = worker_pids(one) + worker_pids(other)
        assert len(set(pids)) == 2
        async with one.talk() as first, other.talk() as second, anyio.create_task_group() as tasks:

            async def ask(talk: Any) -> None:
                assert (await talk.turn(QUESTION)).audio

            tasks.start_soon(ask, first)
            tasks.start_soon(ask, second)
        os.kill(one.pid, signal.SIGKILL)
        wait_until(lambda: process_gone(pids[0]), "its process is gone")
        async with other.talk() as talk:
            assert (await talk.turn(QUESTION)).audio
    wait_until(lambda: process_gone(pids[1]), "so is the other's")
