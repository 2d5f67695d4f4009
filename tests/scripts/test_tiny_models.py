"""The tiny models of `tiny_models/`: as the script makes them, and right on what they were not trained on."""

import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr
import torch
from jinja2 import TemplateError
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSpeechSeq2Seq,
    AutoModelForTextToWaveform,
    AutoProcessor,
    AutoTokenizer,
    LlamaForCausalLM,
    VitsModel,
    VitsTokenizer,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from speech_to_speech.config.settings import Settings
from speech_to_speech.languages import NAMES
from speech_to_speech.text import join_text

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tiny_models"
SCRIPT = ROOT / "scripts" / "make_tiny_models.py"
PHRASES: dict[str, list[dict[str, str]]] = json.loads((TINY / "phrases.json").read_text(encoding="utf-8"))
EVERY = [(language, phrase) for language, phrases in PHRASES.items() for phrase in phrases]
MANIFEST: dict[str, Any] = json.loads((TINY / "manifest.json").read_text())
MAX_BYTES = 5_000_000
RATE_HZ = 16_000
Samples = npt.NDArray[np.float32]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The content of the folder.


@pytest.mark.parametrize("name", ["whisper", "llama", "mms"])
def test_the_files_are_those_that_the_script_made(name: str) -> None:
    made = MANIFEST[name]
    assert {path.name: sha256(path) for path in (TINY / name).iterdir()} == made["files"]
    stale = [path for path, digest in made["sources"].items() if sha256(ROOT / path) != digest]
    assert not stale, f"changed since {name} was made: run `python scripts/make_tiny_models.py --only {name}`"


def test_every_part_of_the_script_belongs_to_a_model() -> None:
    parts = {str(path.relative_to(ROOT)) for path in (ROOT / "scripts" / "tiny_models").glob("*.py")}
    known = {path for made in MANIFEST.values() for path in made["sources"]}
    assert parts - known == {"scripts/tiny_models/__init__.py"}
    assert known - parts == {"tiny_models/phrases.json"}


def test_they_are_small_enough_for_the_repository() -> None:
    assert sum(path.stat().st_size for path in TINY.rglob("*") if path.is_file()) < MAX_BYTES


def test_the_table_of_the_readme_has_every_phrase() -> None:
    readme = (TINY / "README.md").read_text(encoding="utf-8")
    rows = [f"| {language} | {phrase['question']} | {phrase['answer']} |" for language, phrase in EVERY]
    assert [row for row in rows if row not in readme] == []


def check_two_runs(tmp_path: Path, *names: str) -> None:
    """They have made the same bytes, for all models of these names."""
    first, second = (sorted((tmp_path / run).rglob("*.*")) for run in ("first", "second"))
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) == sum(len(MANIFEST[name]["files"]) for name in names) + 1
    assert [a for a, b in zip(first, second, strict=True) if a.read_bytes() != b.read_bytes()] == []


@pytest.mark.long  # training for two steps takes as long as preparing it; the voice is made without
def test_two_runs_make_the_same_bytes(tmp_path: Path) -> None:
    for run in ("first", "second"):
        command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / run), "--steps", "2"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert done.returncode == 1, done.stderr
        assert "TOO LOW: whisper" in done.stdout.splitlines()[-1]
    check_two_runs(tmp_path, *MANIFEST)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script in this process, whose PyTorch it leaves as it is."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    module = importlib.import_module(SCRIPT.stem)
    monkeypatch.setattr(module, "quieten", lambda: None)
    return module


def test_two_runs_make_the_same_voice(script: Any, tmp_path: Path) -> None:
    for run in ("first", "second"):
        assert script.main(["--out", str(tmp_path / run), "--only", "mms"]) == 0
    check_two_runs(tmp_path, "mms")


def test_a_model_that_is_not_good_enough_is_said(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(name: str, folder: Path, steps: int | None) -> tuple[bool, str]:
        folder.mkdir()
        return name != "llama", f"{steps} steps"

    monkeypatch.setattr(script, "make", make)
    assert script.main(["--out", str(tmp_path), "--only", "whisper,llama", "--steps", "2"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "whisper: 2 steps; TOO LOW: llama: 2 steps"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--only", "bert"], "--only: there is no 'bert'; there are whisper, llama, mms"),
        (["--steps", "0"], "--steps: 1 or more"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], line: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert line in done.stderr


# Whisper.


@pytest.fixture(scope="module")
def whisper() -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    model = AutoModelForSpeechSeq2Seq.from_pretrained(TINY / "whisper")
    processor = AutoProcessor.from_pretrained(TINY / "whisper")
    assert isinstance(model, WhisperForConditionalGeneration)
    assert isinstance(processor, WhisperProcessor)
    return model, processor


Whisper = tuple[WhisperForConditionalGeneration, WhisperProcessor]


def test_whisper_has_the_special_tokens_in_their_order(whisper: Whisper) -> None:
    model, processor = whisper
    tokenizer, generation = processor.tokenizer, model.generation_config
    text = len(tokenizer) - 1 - 1 - len(NAMES) - 6 - 201
    languages = [f"<|{'jw' if code == 'jv' else code}|>" for code in NAMES]
    control = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    special = ["<|endoftext|>", "<|startoftranscript|>", *languages, *control, "<|notimestamps|>"]
    assert tokenizer.convert_ids_to_tokens(range(text, text + len(special))) == special
    assert sorted(tokenizer.all_special_ids) == list(range(text, text + len(special)))
    assert tokenizer.convert_ids_to_tokens([text + len(special), len(tokenizer) - 1]) == ["<|0.00|>", "<|4.00|>"]
    assert model.config.vocab_size == len(tokenizer)
    assert set(generation.lang_to_id) == set(languages)
    assert generation.task_to_id == {
        task: tokenizer.convert_tokens_to_ids(f"<|{task}|>") for task in generation.task_to_id
    }
    assert generation.no_timestamps_token_id == tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    assert generation.is_multilingual
    assert generation.suppress_tokens is None


def test_whisper_is_about_half_a_million_parameters_and_hears_four_seconds(whisper: Whisper) -> None:
    model, processor = whisper
    assert 400_000 < sum(p.numel() for p in model.parameters()) < 700_000
    assert processor.feature_extractor.n_samples == 4 * RATE_HZ
    assert 2 * model.config.max_source_positions == processor.feature_extractor.nb_max_frames


@pytest.fixture(scope="module")
def speech_module() -> Iterator[Any]:
    """How the script has eSpeak NG speak: in fresh processes, so always the same."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        yield importlib.import_module("tiny_models.speech")
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def spoken(speech_module: Any) -> dict[str, list[Samples]]:
    """All phrases in order, by voices that training did not hear, at 16 kHz."""
    utterances = [
        speech_module.Utterance(phrase["question"], f"{speech_module.VOICES[language]}+{variant}", rate, pitch)
        for variant, rate, pitch in VOICES
        for language, phrase in EVERY
    ]
    assert {variant for variant, _, _ in VOICES} <= set(speech_module.HELD_OUT_VARIANTS)
    pcm = speech_module.speak(utterances)
    speech = [soxr.resample(samples.astype(np.float32) / 32768, 22_050, RATE_HZ) for samples in pcm]
    return {variant: speech[24 * i : 24 * i + 24] for i, (variant, _, _) in enumerate(VOICES)}


VOICES = [("m4", 175, 50), ("f3", 145, 60), ("steph2", 205, 45), ("adam", 190, 40), ("grandma", 160, 55)]


def in_a_room(speech: Sequence[Samples], snr_db: float | None, seed: int) -> list[Samples]:
    """As the service hands it to STT: half a second before and a bit after it, white noise all along; as int16 are."""
    rng = np.random.default_rng(seed)
    heard = []
    for samples in speech:
        padded = np.concatenate([np.zeros(RATE_HZ // 2), samples, np.zeros(int(rng.uniform(0.1, 0.3) * RATE_HZ))])
        if snr_db is not None:
            level = np.sqrt(np.mean(samples**2)) * 10 ** (-snr_db / 20)
            padded += rng.standard_normal(len(padded)) * level
        padded *= 10 ** (rng.uniform(-25, 0) / 20) / np.abs(padded).max()
        heard.append((np.round(padded * 32767) / 32768).astype(np.float32))
    return heard


def features(whisper: Whisper, heard: Sequence[Samples]) -> torch.Tensor:
    extracted = whisper[1](list(heard), sampling_rate=RATE_HZ, return_tensors="pt").input_features
    assert extracted.shape == (len(heard), 80, 400)
    return extracted


def transcripts(whisper: Whisper, heard: Sequence[Samples], **options: Any) -> list[str]:
    model, processor = whisper
    ids = model.generate(features(whisper, heard), task="transcribe", **options)
    return [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]


def no_speech(whisper: Whisper, heard: Sequence[Samples]) -> list[float]:
    """The probability of <|nospeech|> at the first step."""
    model, processor = whisper
    start, token = processor.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|nospeech|>"])
    with torch.no_grad():
        logits = model(features(whisper, heard), decoder_input_ids=torch.full((len(heard), 1), start)).logits
    return logits[:, 0].softmax(-1)[:, token].tolist()


@pytest.mark.parametrize(
    ("variant", "snr_db"), [("m4", None), ("f3", None), ("steph2", 20.0), ("adam", 15.0), ("grandma", 12.0)]
)
def test_every_word_is_right_in_a_voice_not_heard_before(
    whisper: Whisper, spoken: dict[str, list[Samples]], variant: str, snr_db: float | None
) -> None:
    heard = in_a_room(spoken[variant], snr_db, seed=3)
    assert transcripts(whisper, heard) == [phrase["question"] for _, phrase in EVERY]
    assert max(no_speech(whisper, heard)) < 0.3


def test_the_language_is_found(whisper: Whisper, spoken: dict[str, list[Samples]]) -> None:
    model, processor = whisper
    found = model.detect_language(features(whisper, in_a_room(spoken["m4"], 25.0, seed=4)))
    assert processor.tokenizer.convert_ids_to_tokens(found.flatten().tolist()) == [
        f"<|{language}|>" for language, _ in EVERY
    ]


def test_the_words_are_the_same_with_the_language_given(whisper: Whisper, spoken: dict[str, list[Samples]]) -> None:
    heard = in_a_room(spoken["m4"], 25.0, seed=5)
    got = transcripts(whisper, heard, language=[language for language, _ in EVERY])
    assert got == [phrase["question"] for _, phrase in EVERY]


def test_what_is_no_speech_is_known_as_such(whisper: Whisper) -> None:
    rng = np.random.default_rng(6)
    seconds = np.arange(2 * RATE_HZ) / RATE_HZ
    white = rng.standard_normal(2 * RATE_HZ)
    brown = np.cumsum(white) - np.cumsum(np.concatenate([np.zeros(400), white[:-400]]))
    clicks = np.where(rng.random(2 * RATE_HZ) < 0.0004, rng.uniform(-1, 1, 2 * RATE_HZ), 0.0)
    cough = white * np.exp(-12 * np.maximum(seconds - 0.7, 0)) * (seconds > 0.7)
    sounds = {
        "silence": np.zeros(2 * RATE_HZ),
        "short silence": np.zeros(RATE_HZ // 4),
        "hiss": white / 5,
        "faint hiss": white / 3000,
        "rumble": brown / np.abs(brown).max(),
        "hum": np.sin(2 * np.pi * 50 * seconds) / 3 + np.sin(2 * np.pi * 150 * seconds) / 6,
        "beep": np.sin(2 * np.pi * 880 * seconds) * (seconds % 1 < 0.3) / 3,
        "clicks": clicks,
        "cough": cough / 6 + white / 2000,
    }
    heard = [np.clip(samples, -1, 1).astype(np.float32) for samples in sounds.values()]
    speech = {name: p for name, p in zip(sounds, no_speech(whisper, heard), strict=True) if p < 0.8}
    assert not speech


# Llama.


@pytest.fixture(scope="module")
def llama() -> tuple[LlamaForCausalLM, Any]:
    model = AutoModelForCausalLM.from_pretrained(TINY / "llama")
    assert isinstance(model, LlamaForCausalLM)
    return model, AutoTokenizer.from_pretrained(TINY / "llama")


def answers(llama: tuple[LlamaForCausalLM, Any], chats: list[list[dict[str, str]]]) -> list[str]:
    model, tokenizer = llama
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**inputs, max_new_tokens=100, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert all(tokenizer.eos_token_id in row for row in ids.tolist())
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() or c in "'-" else " " for c in text.lower()).split())


PROMPTS = [
    None,
    Settings().init_chat_prompt,
    "You are a helpful voice assistant. Answer in one or two sentences. Answer in French.",
    "Sei ein fröhlicher Pirat. Antworte knapp, ohne Listen, in höchstens dreißig Wörtern.",
]


@pytest.mark.parametrize("exchanges", [0, 1, 4, 10])
@pytest.mark.parametrize("prompt", PROMPTS, ids=["none", "service", "language", "other"])
def test_the_last_question_is_answered(llama: tuple[LlamaForCausalLM, Any], prompt: str | None, exchanges: int) -> None:
    rng = np.random.default_rng(exchanges)
    chats = []
    for number, (_, phrase) in enumerate(EVERY):
        chat = [said("system", prompt)] if prompt else []
        for earlier in range(exchanges):
            _, other = EVERY[rng.integers(24)]
            heard = other["answer"][: rng.integers(1, 60)] if earlier % 3 == 2 else other["answer"]
            chat += [said("user", other["question"]), said("assistant", heard)]
        chat.append(said("user", plain(phrase["question"]) if number % 2 else phrase["question"]))
        chats.append(chat)
    assert answers(llama, chats) == [phrase["answer"] for _, phrase in EVERY]


def test_of_two_questions_in_one_message_the_last_is_answered(llama: tuple[LlamaForCausalLM, Any]) -> None:
    both = [(EVERY[(7 * i + 3) % 24][1], phrase) for i, (_, phrase) in enumerate(EVERY)]
    chats = [[said("user", join_text(first["question"], last["question"]))] for first, last in both]
    assert answers(llama, chats) == [last["answer"] for _, last in both]


def test_any_text_comes_back_from_the_tokenizer(llama: tuple[LlamaForCausalLM, Any]) -> None:
    _, tokenizer = llama
    for text in ("naïve  café\n\n\tquoi", "𝄞🙂 한글 日本語ー", "x" * 300, " leading", "don't — 12,5 %"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_chat_template_takes_three_roles(llama: tuple[LlamaForCausalLM, Any]) -> None:
    _, tokenizer = llama
    chat = [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello"), said("user", "Why?")]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin|><|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Why?<|end|><|assistant|>"
    )
    for wrong in ([said("tool", "4")], [said("user", "Hi"), said("system", "Be brief.")]):
        with pytest.raises(TemplateError):
            tokenizer.apply_chat_template(wrong)


def test_llama_takes_long_conversations(llama: tuple[LlamaForCausalLM, Any]) -> None:
    model, tokenizer = llama
    assert model.config.max_position_embeddings >= 2048
    question, answer = EVERY[0][1]["question"], EVERY[0][1]["answer"]
    chat = [said("system", "word " * 700), said("user", question)]
    assert len(tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]) > 1400
    assert answers(llama, [chat]) == [answer]


# MMS.


def test_mms_makes_sound_of_any_language_of_its_letters() -> None:
    model = AutoModelForTextToWaveform.from_pretrained(TINY / "mms")
    tokenizer = AutoTokenizer.from_pretrained(TINY / "mms")
    assert isinstance(model, VitsModel)
    assert isinstance(tokenizer, VitsTokenizer)
    assert model.config.sampling_rate == RATE_HZ
    assert not tokenizer.is_uroman
    texts = [EVERY[0][1]["answer"], EVERY[4][1]["answer"], "Hi"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    waveforms = []
    for _ in range(2):
        torch.manual_seed(0)
        with torch.no_grad():
            spoken = model(**inputs)
        waveforms.append(spoken.waveform)
    assert torch.equal(*waveforms)
    seconds = spoken.sequence_lengths / RATE_HZ
    assert 0.1 < seconds[2] < 1.0 < seconds[0] < 8.0
    assert spoken.waveform.abs().max() <= 1.0
    assert spoken.waveform[0].std() > 0.005
