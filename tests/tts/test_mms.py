"""What MMS voices speak: tiny ones with random weights, so lengths, order and sameness, never words."""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mms_support import TINY, Asked, add_voice, change, joining, mms, speak

from speech_to_speech.audio.samples import Samples, to_float
from speech_to_speech.errors import BackendMissing, CheckpointError, StageFailed
from speech_to_speech.languages import NAMES
from speech_to_speech.tts.mms import voice as mms_voice
from speech_to_speech.tts.mms.backend import FIRST_WINDOW_MS, LARGEST_WINDOW_MS, FacebookMms
from speech_to_speech.tts.mms.languages import MMS_CODES
from speech_to_speech.tts.mms.voice import Voice

SHORT, MIDDLING = "yes", "hello there, how are you today?"
LONG = "this sentence takes the tiny voice some seconds, " * 3
QUIET = {"noise_scale": 0.0, "noise_scale_duration": 0.0}  # with other scales a voice varies what it says
STEP = 1.5 / 32768  # rounding to 16 bits may change a sample by so much
# The published voices' vocoder, which looks further to both sides than the tiny one's.
WIDE = {
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "upsample_initial_channel": 32,
}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """English, French and Spanish voices that say the same each time."""
    folder = tmp_path_factory.mktemp("voices")
    for code in ("eng", "fra", "spa"):
        add_voice(folder, code, **QUIET)
    return folder


@pytest.fixture(scope="module")
def model(voices: Path) -> FacebookMms:
    model = mms(voices, facebook_mms_languages="en, fr")
    model.warm_up()
    return model


def whole(folder: Path, text: str) -> Samples:
    """What transformers itself makes of a text, all at once."""
    from transformers import VitsModel, VitsTokenizer

    inputs = VitsTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return VitsModel.from_pretrained(folder).eval()(**inputs).waveform[0].numpy()


def wide_voice(folder: Path) -> Path:
    """A voice with a vocoder as wide as that of the published ones, and random weights."""
    from transformers import VitsConfig, VitsModel

    voice = add_voice(folder, "eng", **QUIET, **WIDE)
    torch.manual_seed(5)
    VitsModel(VitsConfig.from_pretrained(voice)).save_pretrained(voice)
    return voice


# The table.


def test_the_languages_are_whispers_and_more_than_forty() -> None:
    assert len(MMS_CODES) > 40
    assert set(MMS_CODES) <= set(NAMES)
    assert FacebookMms.languages == frozenset(MMS_CODES)


def test_each_language_has_a_voice_of_its_own() -> None:
    assert len(set(MMS_CODES.values())) == len(MMS_CODES)
    assert all(
        code.partition("-script_")[0].isalpha() and len(code.partition("-")[0]) == 3 for code in MMS_CODES.values()
    )
    assert not {"zh", "ja", "it"} & set(MMS_CODES)  # MMS never had these languages


# The sound.


@pytest.mark.parametrize("text", [SHORT, MIDDLING, LONG], ids=len)
def test_the_windows_together_are_what_the_model_makes_at_once(voices: Path, model: FacebookMms, text: str) -> None:
    job = Asked(text)
    speak(model, job)
    expected = whole(voices / "mms-tts-eng", text)
    spoken = to_float(job.pcm)
    assert len(spoken) == len(expected)
    assert np.abs(expected).max() > 100 * STEP
    assert np.abs(spoken - expected).max() < STEP
    assert {chunk.sample_rate_hz for chunk in job.outputs} == {16_000}


def test_the_windows_are_wide_enough_for_the_published_vocoder(tmp_path: Path) -> None:
    folder = wide_voice(tmp_path)
    job = Asked(LONG)
    speak(mms(tmp_path), job)
    expected = whole(folder, LONG)
    assert len(job.outputs) > 3
    assert np.abs(expected).max() > 100 * STEP
    assert np.abs(to_float(job.pcm) - expected).max() < STEP


def test_the_margin_is_no_wider_than_what_the_vocoder_sees(tmp_path: Path) -> None:
    """A change of one frame of latents changes the sound some frames away, and none further than the margin."""
    folder = wide_voice(tmp_path)
    voice = Voice.load(folder, torch.device("cpu"), torch.float32, name="wide", flag="model_name")
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 16, 81, generator=generator)
    changed = latents.clone()
    changed[..., 40] += 100.0
    before, after = (voice.vocoder.speak(some, 0, 81)[0].reshape(81, -1) for some in (latents, changed))
    reached = np.flatnonzero(np.abs(after - before).max(axis=1) > 0)
    assert max(40 - reached[0], reached[-1] - 40) in (
        voice.vocoder.margin - 2,
        voice.vocoder.margin - 1,
        voice.vocoder.margin,
    )


def test_a_batch_says_the_same_as_its_sentences_one_by_one(model: FacebookMms) -> None:
    texts = [SHORT, LONG, MIDDLING, "a", LONG[:25], MIDDLING.upper()]
    batch = [Asked(text) for text in texts]
    speak(model, *batch)
    for text, job in zip(texts, batch, strict=True):
        alone = Asked(text)
        speak(model, alone)
        assert len(job.pcm) == len(alone.pcm)
        assert np.abs(to_float(job.pcm) - to_float(alone.pcm)).max() < STEP


def test_a_voice_that_is_named_is_ignored(model: FacebookMms) -> None:
    plain, named = Asked("good morning"), Asked("good morning", voice="nobody")
    speak(model, plain, named)
    assert named.error is None
    assert np.abs(to_float(named.pcm) - to_float(plain.pcm)).max() < STEP


def test_languages_of_one_batch_have_their_own_voices(voices: Path, tmp_path: Path) -> None:
    add_voice(tmp_path, "eng", **QUIET)
    add_voice(tmp_path, "fra", **QUIET, speaking_rate=0.5)
    model = mms(tmp_path, facebook_mms_languages="en,fr")
    english, french = Asked(MIDDLING, "en"), Asked(MIDDLING, "fr")
    speak(model, english, french)
    assert len(french.pcm) > 1.5 * len(english.pcm)
    assert np.abs(to_float(french.pcm) - whole(tmp_path / "mms-tts-fra", MIDDLING)).max() < STEP


def test_published_voices_vary_what_they_say(tmp_path: Path) -> None:
    add_voice(tmp_path, "eng")
    model = mms(tmp_path)
    one, other = Asked(LONG), Asked(LONG)
    speak(model, one, other)
    assert one.pcm != other.pcm


def test_the_speaking_rate_is_relative_to_the_voices_own(voices: Path, model: FacebookMms) -> None:
    normal, slow = Asked(LONG), Asked(LONG)
    speak(model, normal)
    speak(mms(voices, facebook_mms_speaking_rate=0.5), slow)
    assert len(slow.pcm) == pytest.approx(2 * len(normal.pcm), rel=0.15)


def test_the_vocoder_may_run_in_half_precision(voices: Path, model: FacebookMms) -> None:
    exact, rough = Asked(LONG), Asked(LONG)
    speak(model, exact)
    speak(mms(voices, facebook_mms_torch_dtype="bfloat16"), rough)
    assert len(rough.pcm) == len(exact.pcm)
    error = to_float(rough.pcm) - to_float(exact.pcm)
    assert 0 < np.abs(error).mean() < 0.05 * np.abs(to_float(exact.pcm)).mean()


def test_one_model_may_speak_all_languages(voices: Path) -> None:
    model = mms(voices, model_name=str(voices / "mms-tts-spa"), facebook_mms_languages="en,ko")
    model.warm_up()
    jobs = [Asked(MIDDLING, "ja"), Asked(MIDDLING, "en")]
    speak(model, *jobs)
    assert jobs[0].pcm == jobs[1].pcm != b""


# The order of the sound in time.


def test_the_first_sound_is_short_and_the_next_ones_grow(model: FacebookMms) -> None:
    job = Asked(LONG)
    speak(model, job)
    assert job.chunks_ms[0] == pytest.approx(FIRST_WINDOW_MS, abs=16)
    assert job.chunks_ms[1] == pytest.approx(2 * FIRST_WINDOW_MS, abs=32)
    assert len(job.outputs) > 4
    assert max(job.chunks_ms) < LARGEST_WINDOW_MS + 16


def test_a_request_joins_between_two_windows(model: FacebookMms) -> None:
    order: list[str] = []
    first = Asked(LONG, on_output=lambda _: order.append("first"))
    second = Asked(SHORT, on_output=lambda _: order.append("second"))
    model.run_continuously([first], joining([], [second]))
    assert first.ends == second.ends == 1
    assert order.index("second") in (2, 3)  # the round after the second joined begins with either
    assert order[-1] == "first"


def test_a_cancelled_sentence_stops_at_the_next_window(model: FacebookMms) -> None:
    def cancel_at_two(job: Asked) -> None:
        job.cancelled = len(job.outputs) == 2

    cancelled, other = Asked(LONG, on_output=cancel_at_two), Asked(LONG)
    speak(model, cancelled, other)
    assert len(cancelled.outputs) == 2
    assert cancelled.error is None
    assert len(other.outputs) > 4
    assert cancelled.pcm == other.pcm[: len(cancelled.pcm)]


def test_a_sentence_cancelled_before_its_turn_is_not_begun(model: FacebookMms) -> None:
    job = Asked(LONG)
    job.cancelled = True
    speak(model, job)
    assert job.outputs == []


# Texts that can't be spoken.


@pytest.mark.parametrize("text", ["", "   ", "!?…", "漢字", "🎉"])
def test_a_text_without_a_known_character_makes_no_sound(
    model: FacebookMms, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    silent, other = Asked(text), Asked(SHORT)
    speak(model, silent, other)
    assert silent.outputs == []
    assert silent.error is None
    assert other.outputs
    assert f"a text of {len(text)} characters has none that the voice knows" in caplog.text


def test_a_language_without_a_voice_fails_its_request_only(model: FacebookMms) -> None:
    chinese, english = Asked(SHORT, "zh"), Asked(SHORT)
    speak(model, chinese, english)
    assert isinstance(chinese.error, StageFailed)
    assert str(chinese.error) == "tts: MMS has no voice for 'zh'"
    assert english.outputs


def test_what_breaks_the_model_fails_its_requests_only(tmp_path: Path) -> None:
    """A vocabulary with a number that the model has no embedding for, as after a careless edit."""
    broken = add_voice(tmp_path, "eng")
    change(broken / "vocab.json", q=9999)
    add_voice(tmp_path, "fra")
    model = mms(tmp_path, facebook_mms_languages="en,fr")
    quiz, english, french = Asked("quiz"), Asked(SHORT), Asked(SHORT, "fr")
    speak(model, quiz, french)
    assert isinstance(quiz.error, IndexError)
    assert french.outputs
    speak(model, english)
    assert english.outputs


# Romanised voices, such as the Korean one.


def romanised_voice(folder: Path) -> Path:
    voice = add_voice(folder, "kor", **QUIET)
    change(voice / "tokenizer_config.json", is_uroman=True)
    return voice


def test_a_romanised_voice_reads_another_script(tmp_path: Path) -> None:
    romanised_voice(tmp_path)
    model = mms(tmp_path, facebook_mms_languages="ko")
    korean, latin = Asked("안녕하세요, 오늘!", "ko"), Asked("annyeonghaseyo, oneul!", "ko")
    speak(model, korean, latin)
    assert korean.outputs
    assert korean.pcm == latin.pcm


def test_a_romanised_voice_without_its_romaniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    romanised_voice(tmp_path)
    monkeypatch.setitem(sys.modules, "uroman", None)
    mms_voice._romaniser.cache_clear()
    with pytest.raises(BackendMissing, match=r"^this voice of MMS .* needs uroman: make install-mms$"):
        mms(tmp_path, facebook_mms_languages="ko")


# Bad settings: one line each.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"facebook_mms_languages": "en,zh"}, "facebook_mms_languages: MMS has no voice for 'zh'; it has am, ar, "),
        ({"facebook_mms_memory_mb": 0.0}, "facebook_mms_memory_mb: 1 to 1e+06 is allowed, not 0"),
        ({"facebook_mms_load_wait_s": -1.0}, "facebook_mms_load_wait_s: 0 to 3600 is allowed, not -1"),
        ({"facebook_mms_speaking_rate": 9.0}, "facebook_mms_speaking_rate: 0.25 to 4 is allowed, not 9"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("+", r"\+")) as caught:
        FacebookMms.Options(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"facebook_mms_device": "tpu"}, "facebook_mms_device: unknown device 'tpu'"),
        ({"facebook_mms_torch_dtype": "int3"}, "facebook_mms_torch_dtype: unknown precision 'int3'"),
        ({"model_name": str(TINY.parent / "whisper")}, "model_name: .* is a WhisperForConditionalGeneration"),
        ({"facebook_mms_memory_mb": 1.0, "facebook_mms_languages": "en,fr,es,de"}, "facebook_mms_memory_mb: 1 MB are"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_loaded(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    for code in ("eng", "fra", "spa", "deu"):
        add_voice(tmp_path, code)
    with pytest.raises(CheckpointError, match="^" + message) as caught:
        mms(tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_a_broken_checkpoint(tmp_path: Path) -> None:
    voice = add_voice(tmp_path, "eng")
    weights = (voice / "model.safetensors").read_bytes()
    (voice / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match=r"^facebook_mms_prefix: .*broken") as caught:
        mms(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_from_before_parametrised_weight_norm(voices: Path, model: FacebookMms, tmp_path: Path) -> None:
    """As the published ones are: the names of the weights were others then."""
    from safetensors.torch import load_file, save_file

    voice = add_voice(tmp_path, "eng", **QUIET)
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = {}
    for name, weight in load_file(voice / "model.safetensors").items():
        for new, old in names.items():
            name = name.replace(new, old)
        weights[name] = weight
    assert any(name.endswith("weight_g") for name in weights)
    save_file(weights, voice / "model.safetensors", metadata={"format": "pt"})
    new, old = Asked(MIDDLING), Asked(MIDDLING)
    speak(model, new)
    speak(mms(tmp_path), old)
    assert old.pcm == new.pcm
