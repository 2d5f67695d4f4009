"""Kokoro: its own library and classes, with random weights, so order, times and lengths, never words.

The library fixes most of the model's sizes, so it is as small as can be: 55 million parameters, one frame a phoneme.
"""

import json
import socket
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mms_support import Asked

from speech_to_speech.audio.samples import to_float
from speech_to_speech.errors import BackendMissing, CheckpointError, SettingsError, StageFailed
from speech_to_speech.frames import pcm_ms
from speech_to_speech.tts.kokoro import languages as kokoro_languages
from speech_to_speech.tts.kokoro import model as kokoro_model
from speech_to_speech.tts.kokoro.backend import CHUNK_MS, SAMPLES, Kokoro
from speech_to_speech.tts.kokoro.languages import LANGUAGES, KokoroLanguage
from speech_to_speech.tts.kokoro.model import MAX_PHONEMES, WEIGHTS, pieces

CHINESE, PHONEMES_OF_ONE = "天气很好，我们走一走吧。", 60
ENGLISH = "Hello there, how are you today?"
# The phonemes of all languages tested here, and more.
VOCABULARY = (
    ';:,.!?—…"()“” abcdefhijklmnopqrstuvwxyzAIOQSTWYæðøŋœɐɑɒɔɕɖəɚɛɜɟɡɣɤɥɨɪɯɰɲɳɴɸɹɾɽʁʂʃʈʊʋʌʎʒʔʝʣʤʥʦʧʨʰʲˈˌː̃βθχᵊᵝᵻ→↓↗↘ꭧʐɭç'
)
CONFIG = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5]],
        "resblock_kernel_sizes": [3],
        "upsample_initial_channel": 512,
    },
    "dim_in": 64,
    "dropout": 0.2,
    "hidden_dim": 512,
    "max_dur": 2,
    "multispeaker": True,
    "n_layer": 1,
    "n_mels": 80,
    "n_token": 178,
    "style_dim": 128,
    "text_encoder_kernel_size": 5,
    "plbert": {
        "hidden_size": 32,
        "embedding_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 512,
        "num_hidden_layers": 1,
    },
    "vocab": {phoneme: number + 1 for number, phoneme in enumerate(VOCABULARY)},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the repository on the hub: config.json, kokoro-v1_0.pth, voices/*.pt."""
    folder = tmp_path_factory.mktemp("kokoro")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    torch.manual_seed(2)
    model = new_model(folder)
    # The names in the published file begin with what DataParallel put before them, and so do these.
    weights = {
        part: {f"module.{name}": weight.half() for name, weight in module.state_dict().items()}
        for part, module in model.named_children()
    }
    torch.save(weights, folder / WEIGHTS)
    (folder / "voices").mkdir()
    for voice in [*(language.voice for language in LANGUAGES.values()), "bf_emma", "af_bella"]:
        torch.save(0.1 * torch.randn(MAX_PHONEMES, 1, 256), folder / "voices" / f"{voice}.pt")
    return folder


def new_model(folder: Path) -> Any:
    """The library's model with random weights."""
    from kokoro import KModel

    torch.save({}, folder / "empty.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KModel(repo_id="new", config=CONFIG, model=str(folder / "empty.pth"))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy pipeline as en_core_web_sm begins, which tags at random."""
    import spacy
    from spacy.training import Example

    folder = tmp_path_factory.mktemp("tagger") / "en"
    with kokoro_languages.quiet_libraries():
        pipeline = spacy.blank("en")
        pipeline.add_pipe("tok2vec", config={"model": {"width": 16, "depth": 1, "embed_size": 100}})
        tags = {"model": {"tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}}}
        labels = pipeline.add_pipe("tagger", config=tags)
        for label in ("NN", "VB", "JJ", ".", ","):
            labels.add_label(label)
        example = Example.from_dict(pipeline.make_doc("Hello."), {"tags": ["NN", "."]})
        pipeline.initialize(lambda: [example])
        pipeline.to_disk(folder)
    return folder


def kokoro(checkpoint: Path, tagger: Path, languages: str = "en,fr", **options: Any) -> Kokoro:
    chosen = {
        "kokoro_model_name": str(checkpoint),
        "kokoro_english_tagger": str(tagger),
        "kokoro_languages": languages,
        "kokoro_device": "cpu",
    }
    model = Kokoro(Kokoro.Options(**(chosen | options)))
    model.load()
    return model


@pytest.fixture(scope="module")
def model(checkpoint: Path, tagger: Path) -> Kokoro:
    model = kokoro(checkpoint, tagger, ",".join(LANGUAGES))
    model.warm_up()
    return model


def speak(model: Kokoro, *jobs: Asked) -> None:
    model.run(jobs)


# The sound.


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_is_spoken_in_short_chunks(model: Kokoro, language: str) -> None:
    job = Asked(SAMPLES[language], language)
    speak(model, job)
    assert job.error is None
    assert {chunk.sample_rate_hz for chunk in job.outputs} == {24_000}
    assert len(job.outputs) > 1
    assert job.chunks_ms[:-1] == [CHUNK_MS] * (len(job.outputs) - 1)
    assert 0 < job.chunks_ms[-1] <= CHUNK_MS
    assert np.abs(to_float(job.pcm)).max() > 0.01


def test_the_sound_is_that_of_the_library(model: Kokoro, checkpoint: Path) -> None:
    """A model of the library's own making, fed with the same phonemes."""
    reference = new_model(checkpoint)
    for part, weights in torch.load(checkpoint / WEIGHTS).items():
        getattr(reference, part).load_state_dict({name.removeprefix("module."): w for name, w in weights.items()})
    reference.eval()
    phonemes = kokoro_languages.phonemiser("fr", "f", "")("Bonjour, ça va bien ?")
    assert isinstance(phonemes, str)
    style = torch.load(checkpoint / "voices" / "ff_siwis.pt")[len(phonemes) - 1]
    job = Asked("Bonjour, ça va bien ?", "fr")
    speak(model, job)
    expected = reference(phonemes, style, 1.0)
    assert len(job.pcm) == 2 * len(expected)
    # The model's source signal has noise, and phases drawn at random: only the loudness can be compared.
    loudness = [
        np.sqrt(np.mean(np.square(np.clip(samples, -1, 1)))) for samples in (to_float(job.pcm), expected.numpy())
    ]
    assert loudness[0] == pytest.approx(loudness[1], rel=0.2)


def test_the_speed(model: Kokoro, checkpoint: Path, tagger: Path) -> None:
    normal, slow = Asked("Bonjour, ça va bien ?", "fr"), Asked("Bonjour, ça va bien ?", "fr")
    speak(model, normal)
    speak(kokoro(checkpoint, tagger, "fr", kokoro_speed=0.5), slow)
    assert len(slow.pcm) == pytest.approx(2 * len(normal.pcm), rel=0.1)


def test_words_of_english_begin_where_the_library_says(model: Kokoro) -> None:
    text = "Hello there. How are you, my dear friend?"
    job = Asked(text)
    speak(model, job)
    begun_ms = 0.0
    words = []
    for chunk, chunk_ms in zip(job.outputs, job.chunks_ms, strict=True):
        for word in chunk.words:
            assert begun_ms <= word.at_ms < begun_ms + chunk_ms
            words.append(word)
        begun_ms += chunk_ms
    expected = [text.index(word) for word in ("Hello", "there", "How", "are", "you", "my", "dear", "friend")]
    assert [word.character for word in words] == expected
    assert [word.at_ms for word in words] == sorted(word.at_ms for word in words)


def test_a_text_of_many_phonemes_is_not_cut_short(model: Kokoro, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library itself would drop what is beyond its limit, without a word."""
    one, three = Asked(CHINESE, "zh"), Asked(CHINESE * 3, "zh")
    monkeypatch.setattr(kokoro_model, "MAX_PHONEMES", PHONEMES_OF_ONE)
    speak(model, one, three)
    assert three.error is None
    assert pcm_ms(len(three.pcm)) == pytest.approx(3 * pcm_ms(len(one.pcm)), rel=0.1)


def test_where_phonemes_are_cut() -> None:
    clauses = "aaaa bbbb, " * 20 + "cc. " + "dddd eeee, " * 40
    cut = pieces(clauses)
    assert all(isinstance(piece, str) and len(piece) <= MAX_PHONEMES for piece in cut)
    assert " ".join(map(str, cut)) == clauses.strip()
    assert str(cut[0]).endswith("cc.")
    assert [len(piece) for piece in pieces("x" * 1200)] == [510, 510, 180]
    assert pieces("  ") == []


@pytest.mark.parametrize(("text", "language"), [("", "en"), ("?!", "en"), ("…", "fr"), ("🎉", "zh"), ("  ", "es")])
def test_a_text_without_a_sound(model: Kokoro, text: str, language: str) -> None:
    job = Asked(text, language)
    speak(model, job)
    assert job.outputs == []
    assert job.error is None


def test_a_voice_of_ones_choice(checkpoint: Path, tagger: Path) -> None:
    model = kokoro(checkpoint, tagger, "en,fr", kokoro_voice="bf_emma")
    assert model._speakers["en"].voice == "bf_emma"
    assert model._speakers["en"].pipeline.lang_code == "b"
    assert model._speakers["fr"].voice == "ff_siwis"
    job = Asked("colour")
    speak(model, job)
    assert job.outputs


def test_requests_of_one_batch_have_voices_of_their_own(model: Kokoro) -> None:
    """The same numbers are drawn for the model's noise each time, so that only the voice makes a difference."""

    def sounds(*voices: str) -> list[bytes]:
        jobs = [Asked(ENGLISH, voice=voice) for voice in voices]
        torch.manual_seed(0)
        speak(model, *jobs)
        assert [job.error for job in jobs] == [None] * len(jobs)
        return [job.pcm for job in jobs]

    own = sounds("", "")
    assert sounds("", "af_heart") == own
    for voice in ("af_bella", "bf_emma"):
        first, second = sounds("", voice)
        assert first == own[0]
        assert second
        assert second != own[1]


def test_a_voice_that_is_not_there_fails_that_job_only(model: Kokoro) -> None:
    voices = ["ff_siwis", "af_nobody", "../voices/af_bella", "af_bella,af_heart", ""]
    jobs = [Asked(ENGLISH, voice=voice) for voice in voices]
    speak(model, *jobs)
    for voice, job in zip(voices[:-1], jobs[:-1], strict=True):
        assert not job.outputs
        assert isinstance(job.error, StageFailed)
        assert job.error.message == f"there is no voice {voice!r}; there are af_bella, af_heart, bf_emma"
    assert jobs[-1].outputs


def test_the_voices_of_a_language(model: Kokoro) -> None:
    assert list(model.voices("en")) == ["af_bella", "af_heart", "bf_emma"]
    assert list(model.voices("fr")) == ["ff_siwis"]
    assert list(model.voices("ko")) == []


def test_a_broken_voice_that_nobody_has_to_have_is_left_out(
    checkpoint: Path, tagger: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy_of(checkpoint, tmp_path, "bf_emma.pt")
    (tmp_path / "voices" / "bf_emma.pt").write_bytes(b"no voice")
    model = kokoro(tmp_path, tagger, "en")
    assert list(model.voices("en")) == ["af_bella", "af_heart"]
    assert "bf_emma.pt is broken" in caplog.text


# Cancel.


def test_a_cancelled_sentence_stops_at_the_next_chunk(model: Kokoro) -> None:
    def cancel_at_two(job: Asked) -> None:
        job.cancelled = len(job.outputs) == 2

    job, next_one = Asked(ENGLISH, on_output=cancel_at_two), Asked("Bon.", "fr")
    speak(model, job, next_one)
    assert len(job.outputs) == 2
    assert next_one.outputs


def test_a_long_text_stops_between_its_parts(model: Kokoro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kokoro_model, "MAX_PHONEMES", PHONEMES_OF_ONE)
    made = []
    calls = model._speakers["zh"].pipeline.model.register_forward_hook(lambda *call: made.append(call))

    def cancel(job: Asked) -> None:
        job.cancelled = True

    job, next_one = Asked(CHINESE * 3, "zh", on_output=cancel), Asked(CHINESE, "zh")
    speak(model, job)
    assert len(job.outputs) == len(made) == 1
    speak(model, next_one)
    assert len(made) == 2
    calls.remove()


def test_a_sentence_cancelled_before_its_turn_is_not_made(model: Kokoro) -> None:
    job = Asked(ENGLISH)
    job.cancelled = True
    speak(model, job)
    assert job.outputs == []


# Nothing is downloaded, and errors say what is missing.


def test_nothing_asks_the_network(
    checkpoint: Path, tagger: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All languages are loaded whose packages are there; the others say what is missing."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setitem(LANGUAGES, "ja", KokoroLanguage("j", "jf_alpha", needs=("nowhere",), install="pip install x"))
    model = kokoro(checkpoint, tagger, "")
    assert set(model._speakers) == set(LANGUAGES) - {"ja"}
    assert "tts kokoro needs nowhere for 'ja': pip install x" in caplog.text
    chinese, japanese = Asked("你好。", "zh"), Asked("はい", "ja")
    speak(model, chinese, japanese)
    assert chinese.outputs
    assert isinstance(japanese.error, StageFailed)
    assert str(japanese.error) == "tts: Kokoro does not speak 'ja' here"
    with pytest.raises(BackendMissing, match=r"^tts kokoro needs nowhere for 'ja': pip install x$"):
        kokoro(checkpoint, tagger, "en,ja")


def test_a_language_that_it_does_not_speak(model: Kokoro) -> None:
    korean, french = Asked("네", "ko"), Asked("Oui.", "fr")
    speak(model, korean, french)
    assert isinstance(korean.error, StageFailed)
    assert str(korean.error) == "tts: Kokoro does not speak 'ko' here"
    assert french.outputs


def test_no_tagger_for_english(checkpoint: Path) -> None:
    with pytest.raises(
        BackendMissing, match=r"^kokoro_english_tagger: no folder or package 'nowhere': python -m spacy "
    ):
        kokoro(checkpoint, Path("nowhere"), "en")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kokoro_speed": 3.0}, "kokoro_speed: 0.5 to 2 is allowed, not 3"),
        ({"kokoro_languages": "en,ko"}, "kokoro_languages: Kokoro has no voice for 'ko'; it has en, es, "),
        ({"kokoro_voice": "heart"}, "kokoro_voice: 'heart' is no name of a voice, such as af_heart"),
        ({"kokoro_voice": "xf_heart"}, "kokoro_voice: 'xf_heart' is no name of a voice"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Kokoro.Options(**options)


def test_an_unknown_voice(checkpoint: Path, tagger: Path) -> None:
    with pytest.raises(SettingsError, match=r"^kokoro_voice: unknown voice 'af_nobody'; there are af_bella, af_heart$"):
        kokoro(checkpoint, tagger, "en", kokoro_voice="af_nobody")


def test_a_voice_of_a_language_that_is_not_loaded(checkpoint: Path, tagger: Path) -> None:
    with pytest.raises(SettingsError, match=r"^kokoro_voice: ff_siwis speaks 'fr', but loaded is en; see "):
        kokoro(checkpoint, tagger, "en", kokoro_voice="ff_siwis")


def copy_of(checkpoint: Path, folder: Path, *left_out: str) -> Path:
    """The checkpoint's files, but for some, as links in a folder of the test's own."""
    (folder / "voices").mkdir()
    for file in checkpoint.rglob("*.*"):
        if file.name not in left_out:
            (folder / file.relative_to(checkpoint)).symlink_to(file)
    return folder


def test_no_weights(checkpoint: Path, tagger: Path, tmp_path: Path) -> None:
    copy_of(checkpoint, tmp_path, WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"^kokoro_model_name: .* has no kokoro-v1_0.pth; choose hexgrad/Kokoro-82M"
    ):
        kokoro(tmp_path, tagger, "fr")


def test_weights_that_are_not_all_there(checkpoint: Path, tagger: Path, tmp_path: Path) -> None:
    """The library itself would keep random numbers in their place."""
    copy_of(checkpoint, tmp_path, WEIGHTS)
    weights = torch.load(checkpoint / WEIGHTS)
    del weights["predictor"]["module.lstm.weight_hh_l0"]
    torch.save(weights, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"^kokoro_model_name: .* lacks predictor.lstm.weight_hh_l0; choose "):
        kokoro(tmp_path, tagger, "fr")


def test_a_broken_file_of_weights(checkpoint: Path, tagger: Path, tmp_path: Path) -> None:
    copy_of(checkpoint, tmp_path, WEIGHTS)
    (tmp_path / WEIGHTS).write_bytes((checkpoint / WEIGHTS).read_bytes()[:1_000_000])
    with pytest.raises(CheckpointError, match=r"^kokoro_model_name: .* can't be loaded as a Kokoro model: ") as caught:
        kokoro(tmp_path, tagger, "fr")
    assert "\n" not in str(caught.value)


def test_a_broken_voice(checkpoint: Path, tagger: Path, tmp_path: Path) -> None:
    copy_of(checkpoint, tmp_path, "ff_siwis.pt")
    (tmp_path / "voices" / "ff_siwis.pt").write_bytes(b"no voice")
    with pytest.raises(SettingsError, match=r"^kokoro_model_name: the voice .*ff_siwis.pt is broken \(\w+\); download"):
        kokoro(tmp_path, tagger, "fr")
