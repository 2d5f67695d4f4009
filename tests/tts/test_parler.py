"""`tts parler` in its real environment, with a tiny random model of the real classes.

The environment takes minutes to make. `PARLER_ENVIRONMENTS` names a folder where it is, or is to be made and kept.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import numpy as np
import pytest

from speech_to_speech.audio.samples import to_float
from speech_to_speech.config.registry import requirements_of
from speech_to_speech.config.settings import load_settings
from speech_to_speech.errors import CheckpointError, SettingsError, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.service.workers import make_worker
from speech_to_speech.tts.parler.backend import Parler, SpeakJob, parts
from speech_to_speech.tts.parler.speakers import FAMILIES, MULTILINGUAL, description_of, speakers_of
from speech_to_speech.workers.environments.environment import FOLDER_VARIABLE, Environment
from speech_to_speech.workers.environments.making import create
from speech_to_speech.workers.model import ListJob
from speech_to_speech.workers.worker import Worker

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
RATE_HZ, FRAMES_PER_S, STRIDE = 16_000, 50, 320  # the tiny model's figures
needs_environment = pytest.mark.skipif(
    "PARLER_ENVIRONMENTS" not in os.environ, reason="PARLER_ENVIRONMENTS is not set: `make test-environments` sets it"
)


# Without the environment.


def test_a_text_is_cut_behind_marks_or_spaces() -> None:
    assert parts("Short.", 85) == ["Short."]
    assert parts("", 85) == []
    text = "This is a first clause, and this is another one. " * 5
    cut = parts(text, 60)
    assert " ".join(cut) == text.strip()
    assert max(map(len, cut)) <= 60
    assert all(part[-1] in ",." for part in cut)
    assert "".join(parts("x" * 200, 60)) == "x" * 200
    assert parts("今日は晴れです。明日は雨でしょう。", 10) == ["今日は晴れです。", "明日は雨でしょう。"]


@pytest.mark.parametrize(
    ("checkpoint", "languages", "english"),
    [
        ("ylacombe/parler-tts-mini-jenny-30H", {"en"}, "Jenny"),
        ("parler-tts/parler-tts-mini-expresso", {"en"}, "Thomas"),
        ("parler-tts/parler-tts-mini-v1", {"en"}, "Laura"),
        ("parler-tts/parler-tts-large-v1", {"en"}, "Laura"),
        ("parler-tts/parler-tts-mini-multilingual-v1.1", set(MULTILINGUAL), "Jon"),
        ("/models/mine", set(MULTILINGUAL), None),
    ],
)
def test_the_speakers_of_a_checkpoint(checkpoint: str, languages: set[str], english: str | None) -> None:
    assert set(speakers_of(checkpoint)) == languages
    assert next(iter(speakers_of(checkpoint)["en"]), None) == english
    assert Parler.languages_with(Parler.Options(tts_model_name=checkpoint)) == languages
    (said,) = described(checkpoint, SpeakRequest("Hello", "en"))
    assert said.startswith(f"{english or 'A woman'} speaks ")
    assert all(speakers <= set(MULTILINGUAL) for speakers in (set(speakers) for _, speakers in FAMILIES))


def described(checkpoint: str, *requests: SpeakRequest, **options: object) -> list[str]:
    """The descriptions that the model would be given, or the errors, for the requests of one batch."""
    made: list[str] = []

    class Undone(Parler):
        """Without the model."""

        def _speak(self, job: SpeakJob, description: str, text: str, least: int, most: int) -> None:
            made.append(description)

    class Asked(ListJob[SpeakRequest, AudioChunk]):
        def fail(self, error: Exception) -> None:
            made.append(str(error))

    Undone(Parler.Options(tts_model_name=checkpoint, **options), Path(), Path()).run([Asked(each) for each in requests])
    return made


def test_each_request_has_a_speaker_of_its_own() -> None:
    wanted = [("en", "Jon"), ("en", "Nobody"), ("en", ""), ("fr", "Jon"), ("en", "Emily")]
    requests = [SpeakRequest("Hello", language, voice) for language, voice in wanted]
    names = "Laura, Gary, Jon, Lea, Karen, Rick, Brenda, David, Eileen, Jordan, Mike, Yann, ..."
    assert described("parler-tts/parler-tts-mini-v1", *requests, description="Laura whispers.") == [
        description_of("Jon"),
        f"tts: there is no voice 'Nobody'; there are {names}",
        "Laura whispers.",
        "tts: this Parler-TTS has no voice for 'fr'",
        description_of("Emily"),
    ]
    french = SpeakRequest("Bonjour", "fr", "Jon")
    assert described("parler-tts/parler-tts-mini-multilingual-v1.1", french) == [
        "tts: there is no voice 'Jon'; there are Christine, Daniel, Michelle, Megan"
    ]


def test_of_a_checkpoint_that_nobody_knows_there_is_no_voice_to_choose() -> None:
    assert described("/models/mine", SpeakRequest("Hello", "en", "Jon")) == [description_of("A woman")]
    assert not Parler(Parler.Options(tts_model_name="/models/mine"), Path(), Path()).voices("en")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tts_device": "tpu"}, "tts_device: auto, cpu"),
        ({"tts_torch_dtype": "int4"}, "tts_torch_dtype: there are"),
        ({"tts_compile_mode": "fast"}, "tts_compile_mode: there are default, reduce-overhead"),
        ({"tts_gen_min_new_tokens": 600}, "tts_gen_min_new_tokens: 0 to 512"),
        ({"tts_gen_max_new_tokens": 8}, "tts_gen_m"),
        ({"play_steps_s": 0.05}, "play_steps_s: 0.2 to 10"),
        ({"max_prompt_pad_length": 13}, "max_prompt_pad_length: 1 to 12"),
        ({"description": " "}, "description: a sentence"),
        ({"tts_model_name": ""}, "tts_model_name: the name"),
    ],
)
def test_bad_options(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Parler.Options(**options)  # type: ignore[arg-type]


def test_a_checkpoint_of_another_class_is_refused() -> None:
    llama = ROOT / "tiny_models" / "llama"
    with pytest.raises(CheckpointError, match=r"^tts_model_name: .*llama is a llama model, a Parler-TTS is needed"):
        Parler.prepare(Parler.Options(tts_model_name=str(llama)))


def test_a_tokenizer_of_its_own_for_descriptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"model_type": "parler_tts", "vocab_size": 90, "text_encoder": {"vocab_size": 90, "_name_or_path": "a/t5"}}
    options = Parler.Options(tts_model_name=str(tmp_path))

    def prepared() -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return Parler.prepare(options)[2]

    assert prepared() == tmp_path
    config["vocab_size"] = 99
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match=r"^tts_model_name: .*a/t5"):
        prepared()
    (tmp_path / "description_tokenizer").mkdir()
    assert prepared() == tmp_path / "description_tokenizer"


# In the environment.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny model, made in the environment; that is made first if it is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, os.environ["PARLER_ENVIRONMENTS"])
        environment = Environment.of(requirements_of("parler"))
        if environment.state != "ready":
            create(environment, print)
        folder = tmp_path_factory.mktemp("parler") / "tiny"
        script = ROOT / "scripts" / "make_tiny_parler.py"
        done = subprocess.run([environment.python, "-I", script, folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield folder


@contextlib.asynccontextmanager
async def speaking(folder: Path, **options: object) -> AsyncIterator[Worker[SpeakRequest, AudioChunk]]:
    flags = {"tts": "parler", "tts_model_name": folder, "tts_device": "cpu", "tts_gen_min_new_tokens": 0, **options}
    arguments = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    worker = make_worker("tts", load_settings(arguments, {}))
    try:
        await worker.start()
        yield worker
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()


async def say(
    worker: Worker[SpeakRequest, AudioChunk], text: str, language: str = "en", voice: str = ""
) -> list[AudioChunk]:
    async with worker.open(SpeakRequest(text, language, voice)) as chunks:
        return [chunk async for chunk in chunks]


@needs_environment
@pytest.mark.timeout(1200)  # the environment may have to be made
async def test_sound_comes_in_chunks_of_the_length_and_rate_that_were_asked_for(tiny: Path) -> None:
    async with speaking(tiny, tts_gen_min_new_tokens=200, tts_gen_max_new_tokens=200, play_steps_s=0.4) as worker:
        started_s, times_s, chunks = time.monotonic(), [], []
        async with worker.open(SpeakRequest("Hello, how are you?", "en")) as outputs:
            async for chunk in outputs:
                times_s.append(time.monotonic() - started_s)
                chunks.append(chunk)
    assert {chunk.sample_rate_hz for chunk in chunks} == {RATE_HZ}
    samples = [len(chunk.pcm) // 2 for chunk in chunks]
    assert len(samples) == 11
    assert max(samples[1:-1]) == 20 * STRIDE  # 0.4 s
    assert 190 * STRIDE <= sum(samples) <= 200 * STRIDE
    assert times_s[0] < 0.5 * times_s[-1]
    sound = to_float(b"".join(chunk.pcm for chunk in chunks))
    assert np.abs(sound).max() > 0.001


@needs_environment
async def test_a_long_text_is_spoken_in_parts(tiny: Path) -> None:
    async with speaking(tiny, tts_gen_min_new_tokens=60, tts_gen_max_new_tokens=60) as worker:
        one = sum(len(chunk.pcm) for chunk in await say(worker, "Ten chars."))
        three = sum(len(chunk.pcm) for chunk in await say(worker, "Ten chars. Ten chars. Ten chars."))
        assert await say(worker, "") == []
    assert 2.5 < three / one < 4.5


@needs_environment
async def test_a_cancel_is_seen_before_the_next_chunk(tiny: Path) -> None:
    async with speaking(tiny, tts_gen_min_new_tokens=400, tts_gen_max_new_tokens=400, play_steps_s=0.4) as worker:
        started_s = time.monotonic()
        await say(worker, "Hello")
        whole_s = time.monotonic() - started_s
        async with worker.open(SpeakRequest("Hello", "en")) as chunks:
            await anext(chunks)
        started_s = time.monotonic()
        async with worker.open(SpeakRequest("Hello", "en")) as chunks:
            await anext(chunks)
            next_s = time.monotonic() - started_s
    assert next_s < 0.5 * whole_s


@needs_environment
async def test_each_language_has_its_voice_and_others_an_error(tiny: Path) -> None:
    async with speaking(tiny, tts_gen_max_new_tokens=32, description="Anna speaks slowly.") as worker:
        for language in MULTILINGUAL:
            assert await say(worker, "Hello", language)
        with pytest.raises(StageFailed, match="no voice for 'ja'"):
            await say(worker, "Hello", "ja")
        assert await say(worker, "Hello")


@needs_environment
async def test_a_speaker_may_be_named_and_has_to_be_known(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parler-tts-mini-v1"
    folder.symlink_to(tiny)
    async with speaking(folder, tts_gen_min_new_tokens=64, tts_gen_max_new_tokens=64) as worker:
        assert await say(worker, "Hello", voice="Jon")
        with pytest.raises(StageFailed, match="there is no voice 'Nobody'; there are Laura, Gary"):
            await say(worker, "Hello", voice="Nobody")


@needs_environment
@pytest.mark.timeout(600)  # g++ is slow
async def test_a_compiled_model_speaks_prompts_of_any_length(tiny: Path) -> None:
    lengths = {}
    for mode in (None, "default"):
        compiled = {} if mode is None else {"tts_compile_mode": mode, "max_prompt_pad_length": 3}
        async with speaking(tiny, tts_gen_min_new_tokens=64, tts_gen_max_new_tokens=64, **compiled) as worker:
            lengths[mode] = [sum(len(c.pcm) for c in await say(worker, text)) for text in ("A", "Hi Anna", "a " * 20)]
    assert lengths["default"][:2] == lengths[None][:2]
    assert lengths["default"][2] > 3 * lengths["default"][0]  # the long text is spoken in parts


@needs_environment
async def test_a_broken_checkpoint_is_one_line(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "model.safetensors").open("r+b") as weights:
        weights.truncate(10_000)
    with pytest.raises(CheckpointError, match=r"^tts_model_name: .* can't be loaded as a Parler-TTS") as told:
        async with speaking(tmp_path):
            pass
    assert "\n" not in str(told.value)


@needs_environment
async def test_a_device_that_is_not_there_is_one_line(tiny: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^tts_device: this machine has no CUDA device"):
        async with speaking(tiny, tts_device="cuda"):
            pass


async def test_without_its_environment_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(SettingsError, match="env create parler"):
        load_settings(["--tts", "parler"], {})
