"""`stt faster-whisper` with the tiny Whisper, converted as its users convert theirs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_hub import FakeHub, environment
from service import noise, spoken

from speech_to_speech.audio.samples import to_float, to_pcm
from speech_to_speech.errors import CheckpointError, SettingsError, StageFailed
from speech_to_speech.frames import SpeechRequest, Transcript, pcm_bytes
from speech_to_speech.stt.faster_whisper.backend import FasterWhisper, is_english_only
from speech_to_speech.workers.model import ListJob

TINY = Path(__file__).parents[2] / "tiny_models"
PHRASES: dict[str, list[dict[str, str]]] = json.loads((TINY / "phrases.json").read_text())
VOICES = {"en": "en-us", "fr": "fr", "es": "es", "zh": "cmn", "ja": "ja", "ko": "ko"}
RATE = 170  # words a minute
MOST_TOKENS = 56  # the tiny Whisper has room for 64 with its prompt


def convert(folder: Path, *, multilingual: bool = True) -> Path:
    """The tiny Whisper in CTranslate2's form.

    faster-whisper reads the length of the window from a preprocessor_config.json, which transformers 5 does not write
    by itself. CTranslate2 takes a Whisper for multilingual if it has an empty token, as the vocabulary of OpenAI's has.
    """
    from ctranslate2.converters import TransformersConverter
    from transformers import WhisperFeatureExtractor

    TransformersConverter(str(TINY / "whisper"), copy_files=["tokenizer.json"]).convert(str(folder))
    WhisperFeatureExtractor.from_pretrained(TINY / "whisper").save_pretrained(folder)
    if multilingual:
        vocabulary = json.loads((folder / "vocabulary.json").read_text())
        vocabulary[vocabulary.index("<|startoflm|>")] = ""
        (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(tmp_path_factory.mktemp("faster") / "whisper")


def made(folder: Path | str, **options: Any) -> FasterWhisper:
    named = {f"faster_whisper_stt_{name}": value for name, value in options.items()}
    defaults = {
        "faster_whisper_stt_model_name": str(folder),
        "faster_whisper_stt_device": "cpu",
        "faster_whisper_stt_compute_type": "float32",
        "faster_whisper_stt_cpu_threads": 1,
        "faster_whisper_stt_gen_max_new_tokens": MOST_TOKENS,
    }
    return FasterWhisper(FasterWhisper.Options(**(defaults | named)))


def loaded(folder: Path | str, **options: Any) -> FasterWhisper:
    model = made(folder, **options)
    model.load()
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def model(converted: Path) -> FasterWhisper:
    return loaded(converted)


class Request(ListJob[SpeechRequest, Transcript]):
    def __init__(self, pcm: bytes, language: str) -> None:
        super().__init__(SpeechRequest(pcm, language))
        self.cancelled = False
        self.error: Exception | None = None

    def fail(self, error: Exception) -> None:
        self.error = error


def hear(model: FasterWhisper, *requests: tuple[bytes, str]) -> list[Transcript]:
    jobs = [Request(pcm, language) for pcm, language in requests]
    model.run(jobs)
    assert [job.error for job in jobs] == [None] * len(jobs)
    return [only(job.outputs) for job in jobs]


def only(outputs: Sequence[Transcript]) -> Transcript:
    (output,) = outputs
    return output


def said(language: str, number: int) -> bytes:
    """A question with a quiet room around it."""
    return noise(150) + spoken(PHRASES[language][number]["question"], VOICES[language], RATE) + noise(300, seed=1)


EVERY = [(language, number) for language in VOICES for number in range(len(PHRASES[language]))]


# Words.


@pytest.mark.parametrize("language", VOICES)
def test_words_in_a_known_language(model: FasterWhisper, language: str) -> None:
    for number, phrase in enumerate(PHRASES[language]):
        (heard,) = hear(model, (said(language, number), language))
        assert heard == Transcript(phrase["question"], language)


@pytest.mark.parametrize("language", VOICES)
def test_the_language_is_detected(model: FasterWhisper, language: str) -> None:
    for number, phrase in enumerate(PHRASES[language]):
        (heard,) = hear(model, (said(language, number), "auto"))
        assert heard == Transcript(phrase["question"], language)


def test_a_batch_hears_what_single_requests_hear_each_in_its_language(
    model: FasterWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [(said(language, number), "auto" if number % 2 else language) for language, number in EVERY]
    single = [only(hear(model, request)) for request in requests]
    sizes: list[int] = []
    transcribe = model._transcribe

    def counted(batch: Any) -> None:
        sizes.append(len(batch))
        transcribe(batch)

    monkeypatch.setattr(model, "_transcribe", counted)
    monkeypatch.setattr(model, "_rows", 16)  # a GPU's batches have so many windows
    assert hear(model, *requests) == single
    assert sizes == [16, 8]
    assert [heard.text for heard in single] == [PHRASES[language][n]["question"] for language, n in EVERY]


def test_quantised_weights_still_hear(converted: Path) -> None:
    model = loaded(converted, compute_type="int8")
    requests = [(said(language, number), language) for language, number in EVERY]
    heard = [transcript.text for transcript in hear(model, *requests)]
    right = [text == PHRASES[language][n]["question"] for text, (language, n) in zip(heard, EVERY, strict=True)]
    assert sum(right) >= 0.9 * len(right)


def test_beams_and_timestamps_leave_the_words_as_they_are(converted: Path) -> None:
    model = loaded(converted, gen_beam_size=3)
    assert only(hear(model, (said("en", 0), "en"))).text == PHRASES["en"][0]["question"]


def test_speech_longer_than_a_window_is_heard_in_parts(model: FasterWhisper) -> None:
    pause = noise(400, seed=3)
    requests = [(b"".join([said("en", 0), pause, said("en", 1), pause, said("en", 2)]), "auto")]
    assert len(requests[0][0]) > pcm_bytes(4500)
    (heard,) = hear(model, *requests)
    assert heard.language == "en"
    assert heard.text == " ".join(PHRASES["en"][n]["question"] for n in range(3))


# No words.


@pytest.mark.parametrize("language", ["en", "auto"])
@pytest.mark.parametrize(
    "pcm", [b"", bytes(2), bytes(pcm_bytes(1000)), noise(2000), noise(9000, level=0.0005)], ids=range(5)
)
def test_silence_has_no_words(model: FasterWhisper, pcm: bytes, language: str) -> None:
    assert hear(model, (pcm, language)) == [Transcript("", language)]


def test_a_request_that_is_no_audio_fails_alone(model: FasterWhisper) -> None:
    jobs = [Request(b"odd", "en"), Request(said("en", 0), "en"), Request(said("en", 0), "xx")]
    model.run(jobs)
    assert isinstance(jobs[0].error, StageFailed)
    assert "3 bytes" in str(jobs[0].error)
    assert only(jobs[1].outputs).text == PHRASES["en"][0]["question"]
    assert "no language 'xx'" in str(jobs[2].error)


def test_a_cancelled_request_is_left_out(model: FasterWhisper) -> None:
    jobs = [Request(said("en", 0), "en"), Request(said("en", 1), "en")]
    jobs[0].cancelled = True
    model.run(jobs)
    assert jobs[0].outputs == []
    assert only(jobs[1].outputs).text == PHRASES["en"][1]["question"]


def test_a_cancel_is_seen_between_two_windows(model: FasterWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Request(b"".join(said("en", n) + noise(400) for n in range(3)), "en")
    calls: list[int] = []
    transcribe = model._transcribe

    def cancelling(batch: Any) -> None:
        calls.append(len(batch))
        transcribe(batch)
        long.cancelled = True

    monkeypatch.setattr(model, "_transcribe", cancelling)
    model.run([long])
    assert calls == [1]
    assert long.outputs == []


def test_a_text_that_is_cut_is_logged_without_its_words(converted: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = loaded(converted, gen_max_new_tokens=3)
    caplog.clear()
    (heard,) = hear(model, (said("en", 0), "en"))
    assert PHRASES["en"][0]["question"].startswith(heard.text)
    assert "cut at 3 tokens" in caplog.text
    assert heard.text not in caplog.text


# English only.


def test_an_english_only_model_hears_english_whatever_auto_finds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(convert(tmp_path / "tiny.en", multilingual=False))
    jobs = [Request(said("en", 0), "en"), Request(said("en", 0), "auto"), Request(said("fr", 0), "fr")]
    model.run(jobs)
    assert only(jobs[0].outputs).language == "en"
    assert only(jobs[1].outputs).language in ("en", "auto")
    assert str(jobs[2].error) == "stt: the model that listens does not understand French"
    assert "understands English only; French was asked for: choose another" in caplog.text
    with pytest.raises(SettingsError, match="understands English only; leave"):
        made(tmp_path / "tiny.en", gen_task="translate").load()


@pytest.mark.parametrize(
    ("name", "english"),
    [
        ("tiny.en", True),
        ("Systran/faster-whisper-base.en", True),
        ("distil-large-v3", True),
        ("Systran/faster-distil-whisper-large-v3", True),
        ("distil-whisper/distil-large-v3.5-ct2", True),
        ("base", False),
        ("large-v3-turbo", False),
        ("mobiuslabsgmbh/faster-whisper-large-v3-turbo", False),
        ("/models.en/whisper", False),
    ],
)
def test_a_name_tells_the_languages(name: str, english: bool) -> None:
    options = FasterWhisper.Options(faster_whisper_stt_model_name=name)
    assert is_english_only(name) is english
    assert (FasterWhisper.languages_with(options) == {"en"}) is english


# Bad input.


def problem_of(model: FasterWhisper) -> str:
    with pytest.raises(CheckpointError) as raised:
        model.load()
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("faster_whisper_stt_")
    return message


def test_a_model_that_can_not_be_loaded_is_an_error_that_names_the_fix(converted: Path, tmp_path: Path) -> None:
    assert "no size 'huge', nor a folder; there are tiny, " in problem_of(made("huge"))
    message = problem_of(made(TINY / "whisper"))
    assert "is a checkpoint of transformers; take --stt whisper" in message
    assert f"ct2-transformers-converter --model {TINY / 'whisper'}" in message

    def broken(name: str) -> Path:
        return Path(shutil.copytree(converted, tmp_path / name))

    (broken("no-tokenizer") / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in problem_of(made(tmp_path / "no-tokenizer"))
    (broken("no-json") / "tokenizer.json").write_text("{")
    assert "can't be loaded as a Whisper of CTranslate2" in problem_of(made(tmp_path / "no-json"))
    weights = (converted / "model.bin").read_bytes()
    (broken("cut") / "model.bin").write_bytes(weights[: len(weights) // 2])
    assert "can't be loaded as a Whisper of CTranslate2" in problem_of(made(tmp_path / "cut"))
    (broken("other-mels") / "preprocessor_config.json").write_text('{"feature_size": 128, "chunk_length": 4}')
    assert "wants 80 mel bands, its preprocessor_config.json has 128" in problem_of(made(tmp_path / "other-mels"))
    shutil.copy(TINY / "llama" / "tokenizer.json", broken("other-tokenizer") / "tokenizer.json")
    assert "has no <|startoftranscript|>, so it is none of a Whisper" in problem_of(made(tmp_path / "other-tokenizer"))


def test_a_window_that_does_not_fit_is_found_before_the_service_is_healthy(converted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(converted, tmp_path / "no-window"))
    (folder / "preprocessor_config.json").unlink()  # the window is then taken for one of 30 s
    model = made(folder)
    model.load()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json don't fit each other") as raised:
        model.warm_up()
    assert "\n" not in str(raised.value)


def test_a_device_or_a_precision_that_is_not_there(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctranslate2

    assert "cpu does not do float16; there are auto, " in problem_of(made(converted, compute_type="float16"))
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    assert "no CUDA device; --faster_whisper_stt_device cpu" in problem_of(made(converted, device="cuda"))
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    assert "no cuda:2; this machine has 2: cuda:0 to cuda:1" in problem_of(made(converted, device="cuda:2"))


def test_too_little_memory_is_said_before_it_is_taken(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech_to_speech.stt.faster_whisper.files.free_ram_bytes", lambda: 1000)
    assert "needs 2.2 MB of memory and 1.0 kB are free" in problem_of(made(converted))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("model_name", " ", "the name of a model or a folder"),
        ("device", "mps", "auto, cpu, cuda or cuda:1"),
        ("device", "cpu:1", "auto, cpu, cuda or cuda:1"),
        ("compute_type", "int4", "there are auto, "),
        ("gen_task", "sing", "there are transcribe, translate"),
        ("cpu_threads", -1, "0 to 64"),
        ("gen_max_new_tokens", 0, "1 to 444"),
        ("gen_max_new_tokens", 445, "1 to 444"),
        ("gen_beam_size", 17, "1 to 16"),
    ],
)
def test_options_out_of_range(option: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^faster_whisper_stt_{option}: .*{said}"):
        made("tiny", **{option: value})


# From the hub.

FROM_HUB = """
import sys
from pathlib import Path
from speech_to_speech.frames import SpeechRequest
from speech_to_speech.workers.model import ListJob
from speech_to_speech.stt.faster_whisper.backend import FasterWhisper
model = FasterWhisper(FasterWhisper.Options(faster_whisper_stt_model_name="tiny",
    faster_whisper_stt_device="cpu", faster_whisper_stt_gen_max_new_tokens=56))
model.load()
model.warm_up()
job = ListJob(SpeechRequest(Path(sys.argv[1]).read_bytes(), "en"))
model.run([job])
print(job.outputs[0].text)
print([name for name in ("torch", "transformers") if name in sys.modules])
"""


def test_a_size_is_had_from_the_hub_without_torch(converted: Path, tmp_path: Path) -> None:
    (tmp_path / "pcm").write_bytes(said("en", 0))
    with FakeHub({"Systran/faster-whisper-tiny": converted}) as hub:
        result = subprocess.run(
            [sys.executable, "-c", FROM_HUB, str(tmp_path / "pcm")],
            env=environment(hub.address, tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [PHRASES["en"][0]["question"], "[]"]
    assert "model.bin" in hub.downloads()


def test_speech_over_a_hiss_keeps_its_words(model: FasterWhisper) -> None:
    hiss = np.random.default_rng(5).normal(0, 0.003, pcm_bytes(2600) // 2).astype(np.float32)
    speech = to_float(said("en", 3))
    noisy = hiss.copy()
    noisy[: len(speech)] += speech[: len(noisy)]
    assert only(hear(model, (to_pcm(noisy), "en"))).text == PHRASES["en"][3]["question"]
