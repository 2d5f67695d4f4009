"""Voices of MMS come and go while others speak: on demand, within their memory, and with nothing left behind."""

import contextlib
import random
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from mms_support import Asked, SlowHub, add_voice, mms, speak
from service import eventually, wait_until

from speech_to_speech.errors import StageBusy, StageError, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.tts.mms import voices as mms_voices
from speech_to_speech.tts.mms.backend import MAX_WAITING, FacebookMms
from speech_to_speech.workers.worker import Worker

TEXT = "hello there, how are you today? " * 2
VOICE_MB = 0.34697  # MB of memory, without the weights that only training needs
CODES = ("eng", "fra", "spa", "deu", "por")


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    for code in CODES:
        add_voice(tmp_path, code)
    return tmp_path


@pytest.fixture
def slow_french(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hub that takes its time over the French voice."""
    hub = SlowHub(monkeypatch, "fra")
    yield hub
    hub.open.set()
    loader_ended()


def codes_in(model: FacebookMms) -> list[str]:
    return [name.rpartition("mms-tts-")[2] for name in model._voices.names]


def loader_ended() -> None:
    wait_until(lambda: not any(thread.name == "mms-loader" for thread in threading.enumerate()), "the loader's end")


def all_idle(model: FacebookMms) -> bool:
    return all(voice.users == 0 for voice in model._voices._loaded.values())


@contextlib.asynccontextmanager
async def working(model: FacebookMms) -> AsyncIterator[Worker[SpeakRequest, AudioChunk]]:
    worker: Worker[SpeakRequest, AudioChunk] = Worker("tts", model, timeout_s=60.0)
    try:
        await worker.start()
        yield worker
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()


async def audio_of(worker: Worker[SpeakRequest, AudioChunk], language: str, text: str = TEXT) -> list[AudioChunk]:
    async with worker.open(SpeakRequest(text, language)) as chunks:
        return [chunk async for chunk in chunks]


# Voices on demand.


def test_a_voice_is_loaded_when_it_is_first_asked_for(voices: Path) -> None:
    model = mms(voices)
    assert codes_in(model) == ["eng"]
    job = Asked(TEXT, "fr")
    speak(model, job)
    assert job.outputs
    assert codes_in(model) == ["eng", "fra"]
    loader_ended()


@pytest.mark.anyio
async def test_a_voice_that_loads_holds_up_nobody_else(voices: Path, slow_french: SlowHub) -> None:
    async with working(mms(voices, load=False)) as worker, anyio.create_task_group() as tasks:
        heard: list[AudioChunk] = []

        async def listen_to_french() -> None:
            heard.extend(await audio_of(worker, "fr"))

        tasks.start_soon(listen_to_french)
        await eventually(slow_french.begun.is_set, "French is being loaded")
        for _ in range(3):
            assert await audio_of(worker, "en")
        assert not slow_french.open.is_set()
        assert not heard
        slow_french.open.set()
    assert heard


@pytest.mark.anyio
async def test_further_voices_wait_their_turn_and_come(voices: Path, slow_french: SlowHub) -> None:
    async with working(mms(voices, load=False)) as worker, anyio.create_task_group() as tasks:
        heard: dict[str, int] = {}

        async def listen(language: str) -> None:
            heard[language] = len(await audio_of(worker, language))

        tasks.start_soon(listen, "fr")
        await eventually(slow_french.begun.is_set, "French is being loaded")
        for language in ("es", "de", "fr", "en"):
            tasks.start_soon(listen, language)
        await eventually(lambda: "en" in heard, "English is spoken")
        slow_french.open.set()
    assert heard.keys() == {"fr", "es", "de", "en"}
    assert min(heard.values()) > 0
    assert slow_french.asked == ["eng", "fra", "spa", "deu"]


def test_a_request_waits_no_longer_than_it_may(voices: Path, slow_french: SlowHub) -> None:
    model = mms(voices, facebook_mms_load_wait_s=0.2)
    impatient = Asked(TEXT, "fr")
    speak(model, impatient)
    assert isinstance(impatient.error, StageBusy)
    assert str(impatient.error) == "tts: the voice of this language is still being loaded"
    slow_french.open.set()
    wait_until(lambda: "fra" in codes_in(model), "it is loaded all the same")
    later = Asked(TEXT, "fr")
    speak(model, later)
    assert later.outputs


def test_only_some_requests_may_wait(voices: Path, slow_french: SlowHub) -> None:
    """The others of the batch are for languages that are there."""
    model = mms(voices)
    french = [Asked(TEXT, "fr") for _ in range(MAX_WAITING + 3)]
    english = Asked(TEXT, on_output=lambda _: slow_french.open.set())
    speak(model, *french, english)
    assert english.outputs
    assert [type(job.error) for job in french] == [type(None)] * MAX_WAITING + [StageBusy] * 3
    assert all(job.outputs for job in french[:MAX_WAITING])


def test_what_nobody_waits_for_any_more_is_not_loaded(voices: Path, slow_french: SlowHub) -> None:
    model = mms(voices)
    french, spanish, portuguese = (Asked(TEXT, language) for language in ("fr", "es", "pt"))

    def give_up() -> list[Asked]:
        assert slow_french.begun.wait(30)
        french.cancelled = spanish.cancelled = True
        slow_french.open.set()
        return [portuguese]

    gives_up = iter([give_up])
    model.run_continuously([french, spanish], lambda: next(gives_up, list)())
    loader_ended()
    assert french.ends == spanish.ends == portuguese.ends == 1
    assert not french.outputs
    assert portuguese.outputs
    assert codes_in(model) == ["eng", "fra", "por"]  # French was on its way already


# Voices that can't be had.


def test_a_voice_that_cannot_be_loaded_is_not_tried_for_each_sentence(
    voices: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub = SlowHub(monkeypatch)
    model = mms(voices)
    for _ in range(3):
        swahili, english = Asked(TEXT, "sw"), Asked(TEXT)
        speak(model, swahili, english)
        assert isinstance(swahili.error, StageFailed)
        assert str(swahili.error) == "tts: the voice of this language can't be loaded; the service's log says why"
        assert english.outputs
    assert hub.asked == ["eng", "swh"]
    assert "mms-tts-swh" in caplog.text  # the log, unlike the client, is told which and why
    add_voice(voices, "swh")
    later = time.monotonic() + mms_voices.RETRY_S
    monkeypatch.setattr(mms_voices, "time", SimpleNamespace(monotonic=lambda: later))
    swahili = Asked(TEXT, "sw")
    speak(model, swahili)
    assert swahili.outputs
    loader_ended()


def test_an_error_of_any_kind_ends_the_load_and_not_the_loader(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mms(voices)
    (voices / "mms-tts-fra" / "vocab.json").write_text("[]")
    (voices / "mms-tts-spa" / "config.json").unlink()
    jobs = [Asked(TEXT, language) for language in ("fr", "es", "de")]
    speak(model, *jobs)
    assert [type(job.error) for job in jobs] == [StageFailed, StageFailed, type(None)]
    assert jobs[2].outputs
    loader_ended()


# Memory.


def test_the_least_recently_used_voice_is_dropped(voices: Path) -> None:
    model = mms(voices, facebook_mms_memory_mb=4 * VOICE_MB + 0.1)
    for language in ("fr", "es", "fr", "de", "en", "pt"):
        job = Asked(TEXT, language)
        speak(model, job)
        assert job.outputs
        assert sum(voice.byte_count for voice in model._voices._loaded.values()) <= 4 * VOICE_MB * 1e6 + 1e5
    assert codes_in(model) == ["fra", "deu", "eng", "por"]
    loader_ended()


def test_what_was_loaded_ahead_stays(voices: Path) -> None:
    model = mms(voices, facebook_mms_languages="en,fr", facebook_mms_memory_mb=3 * VOICE_MB + 0.1)
    for language in ("es", "de", "pt", "es"):
        speak(model, Asked(TEXT, language))
        assert {"eng", "fra"} <= set(codes_in(model))
    assert codes_in(model) == ["eng", "fra", "spa"]
    loader_ended()


def test_a_voice_that_speaks_is_not_dropped(voices: Path) -> None:
    model = mms(voices, facebook_mms_memory_mb=3 * VOICE_MB + 0.1)
    speak(model, Asked(TEXT, "fr"), Asked(TEXT, "es"))
    german: list[Asked] = [Asked(TEXT, "de"), Asked(TEXT, "de")]

    def ask_for_german(job: Asked) -> None:
        if len(job.outputs) == 1:
            speak(model, german[0])  # French and Spanish are in use

    french = Asked(TEXT, "fr", on_output=ask_for_german)
    speak(model, french, Asked(TEXT, "es"))
    assert isinstance(german[0].error, StageBusy)
    assert str(german[0].error) == "tts: there is no memory for one more language at the moment"
    assert french.error is None
    assert all_idle(model)
    speak(model, german[1])
    assert german[1].outputs
    assert codes_in(model) == ["eng", "spa", "deu"]
    loader_ended()


# Nothing is left.


@pytest.mark.anyio
@pytest.mark.parametrize("count", [30, pytest.param(100, marks=pytest.mark.long)])
async def test_requests_cancelled_at_random_leave_nothing(voices: Path, count: int) -> None:
    model = mms(voices, load=False, facebook_mms_languages="en,fr,es")
    chance = random.Random(4)
    complete = []
    threads = threading.active_count()
    async with working(model) as worker:
        languages = ["en", "fr", "es", "de", "zh"]

        async def listen(number: int) -> None:
            await anyio.sleep(chance.uniform(0, 0.5))
            stop_after = chance.choice([0, 1, 2, 4, 99])
            language = chance.choice(languages)
            try:
                async with worker.open(SpeakRequest(TEXT, language)) as chunks:
                    heard = 0
                    async for _ in chunks:
                        heard += 1
                        if heard == stop_after:
                            break
                    else:
                        complete.append(heard)
            except StageError:
                assert language == "zh"

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(listen, number)
            await eventually(lambda: worker.idle, "the worker has nothing left")
        assert all_idle(model)
        await eventually(lambda: threading.active_count() <= threads + 1, "only the worker's thread is left")
        assert await audio_of(worker, "en")
    assert min(complete) > 1
    assert len(complete) > count / 10
