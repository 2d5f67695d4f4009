"""`tts melo` and its Japanese dictionary. MeloTTS itself can't be imported without the hub, so a stand-in with the
interface that is used takes its place, in a real environment of its own; MeCab and the dictionary are the real ones."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from service import main_hz

from speech_to_speech.config.registry import BACKENDS
from speech_to_speech.config.settings import load_settings
from speech_to_speech.errors import CheckpointError, SettingsError, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.service.workers import make_worker
from speech_to_speech.tts.melo.backend import VOICES, Melo, sentences
from speech_to_speech.workers.environments.environment import FOLDER_VARIABLE, Environment
from speech_to_speech.workers.environments.making import create
from speech_to_speech.workers.worker import Worker

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
RATE_HZ = 44_100
PITCH_HZ = {"en": 250, "fr": 400, "es": 600, "zh": 850, "ja": 1000, "ko": 1200}
JAPANESE = "すもももももももものうち。"
WORDS = ["すもも", "も", "もも", "も", "もも", "の", "うち", "。"]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the script, from the package."""
    folder = tmp_path_factory.mktemp("unidic") / "dictionary"
    done = prepare("--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def prepare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "prepare_unidic.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """The stand-in, numpy and MeCab without any dictionary."""
    folder = tmp_path_factory.mktemp("environments")
    requirements = folder / "melo.txt"
    requirements.write_text(f"{ROOT / 'tests' / 'support' / 'melo_stand_in'}\nnumpy==2.4.6\nmecab-python3==1.0.12\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        backend = dataclasses.replace(BACKENDS["tts", "melo"], requirements=str(requirements))
        patch.setitem(BACKENDS, ("tts", "melo"), backend)
        create(Environment.of(requirements), str)
        yield Environment.of(requirements)


@contextlib.asynccontextmanager
async def speaking(dictionary: Path, **options: object) -> AsyncIterator[Worker[SpeakRequest, AudioChunk]]:
    given = {"tts": "melo", "melo_dictionary": dictionary, "language": "auto", **options}
    worker = make_worker("tts", load_settings([f"--{name}={value}" for name, value in given.items()], {}))
    try:
        await worker.start()
        yield worker
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()


async def say(worker: Worker[SpeakRequest, AudioChunk], text: str, language: str, voice: str = "") -> bytes:
    async with worker.open(SpeakRequest(text, language, voice)) as chunks:
        made = [chunk async for chunk in chunks]
    assert {chunk.sample_rate_hz for chunk in made} <= {RATE_HZ}
    return b"".join(chunk.pcm for chunk in made)


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / RATE_HZ


async def test_each_language_has_its_model_and_speaker(dictionary: Path) -> None:
    async with speaking(dictionary) as worker:
        for language in VOICES:
            pcm = await say(worker, "あいうえお" if language == "ja" else "abcdefghij", language)
            assert main_hz(pcm, RATE_HZ) == pytest.approx(PITCH_HZ[language], abs=8)
        with pytest.raises(StageFailed, match="no voice for 'de'"):
            await say(worker, "Guten Tag", "de")


async def test_an_english_speaker_and_a_speed(dictionary: Path) -> None:
    async with speaking(
        dictionary, language="en", melo_speaker_to_id="EN-AU", melo_speed="2", melo_languages="en"
    ) as worker:
        pcm = await say(worker, "a" * 40, "en")
        assert main_hz(pcm, RATE_HZ) == pytest.approx(350, abs=8)
        assert seconds(pcm) == pytest.approx(1.0, abs=0.01)


async def test_each_request_has_a_speaker_of_its_own(dictionary: Path) -> None:
    async with speaking(dictionary, melo_languages="en,fr") as worker:
        for voice, hz in (("EN-US", 200), ("EN-AU", 350), ("", 250)):
            assert main_hz(await say(worker, "abcdefghij", "en", voice), RATE_HZ) == pytest.approx(hz, abs=8)
        with pytest.raises(StageFailed) as failed:
            await say(worker, "abcdefghij", "fr", "EN-US")
        assert failed.value.message == "there is no voice 'EN-US'; there are FR"
        assert await say(worker, "abcdefghij", "fr", "FR")


async def test_a_cancel_is_seen_between_sentences(dictionary: Path) -> None:
    async with speaking(dictionary, melo_languages="en") as worker:
        async with worker.open(SpeakRequest("One sentence here. " * 2000, "en")) as chunks:
            await anext(chunks)
        with anyio.fail_after(2):
            assert seconds(await say(worker, "abcd", "en")) == pytest.approx(0.2, abs=0.01)


async def test_japanese_is_read_with_the_dictionary_of_the_settings(dictionary: Path) -> None:
    async with speaking(dictionary, melo_languages="ja") as worker:
        assert seconds(await say(worker, JAPANESE, "ja")) == pytest.approx(0.05 * len(WORDS), abs=0.01)


def test_mecab_parses_a_sentence_with_it(dictionary: Path, environment: Environment) -> None:
    code = f"import MeCab; print(MeCab.Tagger('-r {dictionary}/mecabrc -d {dictionary}').parse({JAPANESE!r}))"
    done = subprocess.run([environment.python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert [line.split("\t")[0] for line in done.stdout.splitlines() if line not in ("EOS", "")] == WORDS


def test_the_dictionary_has_its_manifest_and_licence(dictionary: Path) -> None:
    made = json.loads((dictionary / "manifest.json").read_text())
    asked = json.loads((ROOT / "fast_unidic" / "manifest.json").read_text())["unidic-lite"]
    assert made == {**asked, "package": "unidic-lite"}
    assert {path.name for path in dictionary.iterdir()} == {*made["files"], "manifest.json"}


def test_other_files_than_the_manifest_names_change_nothing(
    dictionary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import prepare_unidic

    package = tmp_path / "temporary" / "unidic_lite"
    package.mkdir(parents=True)
    (package / "dicdir").symlink_to(dictionary)
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").touch()
    monkeypatch.setattr(prepare_unidic, "run", lambda *command, **options: None)
    entry = json.loads((ROOT / "fast_unidic" / "manifest.json").read_text())["unidic-lite"]
    entry["files"]["sys.dic"] = "0" * 64
    with pytest.raises(prepare_unidic.Refused, match=r"sys.dic: not the files of"):
        prepare_unidic.prepare("unidic-lite", entry, tmp_path / "temporary", out)
    assert [path.name for path in out.iterdir()] == ["kept"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "temporary"]


# Bad settings.


async def test_a_device_that_is_not_there(dictionary: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^melo_languages: the model for en can't be loaded: .*NVIDIA driver"):
        async with speaking(dictionary, melo_device="cuda", melo_languages="en"):
            pass


async def test_without_any_dictionary_the_library_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech_to_speech.tts.melo.backend.DICTIONARY", Path("nowhere"))
    worker = make_worker("tts", load_settings(["--tts", "melo"], {}))
    try:
        with pytest.raises(CheckpointError, match=r"^tts melo: MeloTTS can't be imported: RuntimeError: .*MeCab"):
            await worker.start()
    finally:
        await worker.close()


async def test_a_folder_without_a_dictionary(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^melo_dictionary: .* has no mecabrc; make it: scripts/prepare_unidic.py"):
        async with speaking(tmp_path):
            pass


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"melo_languages": "en,de"}, "melo_languages: there are en, fr, es, zh, ja, ko, not 'en,de'"),
        ({"melo_languages": ""}, "melo_languages: there are"),
        ({"melo_speaker_to_id": "EN-NZ"}, "melo_speaker_to_id: there are en, EN-US"),
        ({"melo_speed": 3.0}, "melo_speed: 0.5 to 2"),
        ({"melo_device": "tpu"}, "melo_device: auto, cpu"),
    ],
)
def test_bad_options(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Melo.Options(**options)  # type: ignore[arg-type]


def test_a_fixed_language_loads_only_its_model() -> None:
    assert load_settings(["--tts", "melo", "--language", "en"], {}).options["tts"].codes == ("en",)


def test_sentences() -> None:
    assert sentences("One. Two! 三。四？ Five") == ["One.", "Two!", "三。", "四？", "Five"]
    assert sentences("3.5 km") == ["3.5 km"]
    assert sentences(" ") == []
