"""Smart Turn's features, and its loader on a stand-in: the model's inputs and outputs, with simple arithmetic."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from service import noise

from speech_to_speech.errors import BackendMissing, SettingsError
from speech_to_speech.turn.base import TurnRequest
from speech_to_speech.turn.smart_turn.backend import INPUT, SmartTurn
from speech_to_speech.turn.smart_turn.features import FFT, FRAMES, HOP, MEL_BANDS, SAMPLES, log_mel, mel_to_hz
from speech_to_speech.workers.model import ListJob

HEARD_FRAMES = 50
"""The stand-in's probability is the sigmoid of the mean of so many frames at the end: 0.5 s."""

Floats = npt.NDArray[np.float64]


def stand_in(
    path: Path, shape: tuple[object, ...] = ("batch", MEL_BANDS, FRAMES), name: str = INPUT, flat: bool = False
) -> str:
    """Write a model that takes `shape` and gives one probability for each of the batch."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def constant(of: str, values: list[int]) -> object:
        return helper.make_tensor(of, TensorProto.INT64, [len(values)], values)

    nodes = [
        helper.make_node("Slice", [name, "from", "to", "axis"], ["last"]),
        helper.make_node("ReduceMean", ["last", "axes"], ["mean"], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["probability"]),
        helper.make_node("Reshape", ["probability", "shape"], ["logits"]),
    ]
    constants = {
        "from": [-HEARD_FRAMES],
        "to": [1 << 30],
        "axis": [2],
        "axes": [1, 2],
        "shape": [-1] if flat else [-1, 1],
    }
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape[:1] if flat else [shape[0], 1])],
        [constant(of, values) for of, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return str(path)


def loaded(model: str) -> SmartTurn:
    smart_turn = SmartTurn(SmartTurn.Options(smart_turn_model=model))
    smart_turn.load()
    smart_turn.warm_up()
    return smart_turn


def judged(smart_turn: SmartTurn, *pcm: bytes) -> list[float]:
    jobs = [ListJob[TurnRequest, float](TurnRequest(each, "", "en")) for each in pcm]
    smart_turn.run(jobs)
    return [probability for job in jobs for probability in job.outputs]


def expected(pcm: bytes) -> float:
    return float(1 / (1 + np.exp(-log_mel(pcm)[:, -HEARD_FRAMES:].mean())))


def tone(hz: float, ms: float, level: float = 0.3) -> bytes:
    time_s = np.arange(int(ms * 16)) / 16_000
    return (level * 32767 * np.sin(2 * np.pi * hz * time_s)).astype("<i2").tobytes()


def slow_log_mel(samples: Floats) -> Floats:
    """The same features by their definitions: a sum for each frequency, an interpolated triangle for each band."""
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    padded = np.concatenate([samples[FFT // 2 : 0 : -1], samples, samples[-2 : -FFT // 2 - 2 : -1]])
    at = np.arange(FFT)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * at / FFT)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(FFT // 2 + 1), at) / FFT)
    hz = np.arange(FFT // 2 + 1) * 16_000 / FFT
    corners = mel_to_hz(np.linspace(0, 45.245640471924965, MEL_BANDS + 2))
    bands = [
        np.interp(hz, corners[band : band + 3], [0, 2 / (corners[band + 2] - corners[band]), 0])
        for band in range(MEL_BANDS)
    ]
    mel = np.empty((MEL_BANDS, FRAMES))
    for frame in range(FRAMES):
        power = np.abs((waves * (padded[frame * HOP : frame * HOP + FFT] * window)).sum(axis=1)) ** 2
        mel[:, frame] = [np.sum(band * power) for band in bands]
    log = np.log10(np.maximum(mel, 1e-10))
    return np.asarray((np.maximum(log, log.max() - 8) + 4) / 4)


def test_features_are_as_defined() -> None:
    pcm = noise(5000, level=0.1) + tone(440, 3000)
    features = log_mel(pcm)
    assert features.shape == (MEL_BANDS, FRAMES)
    assert features.dtype == np.float32
    samples = np.frombuffer(pcm, dtype="<i2") / 32768
    assert features == pytest.approx(slow_log_mel(samples), abs=1e-5)


def test_the_mel_scale_is_slaneys() -> None:
    assert mel_to_hz(np.array([0.0, 15.0, 42.0])) == pytest.approx([0, 1000, 6400])


def test_a_higher_tone_is_in_a_higher_band() -> None:
    loudest = [int(log_mel(tone(hz, 8000))[:, 400].argmax()) for hz in (200, 400, 1000, 3000, 7000)]
    assert loudest == sorted(set(loudest))


def test_short_audio_comes_last_with_zeros_before_it() -> None:
    features = log_mel(tone(440, 1000))
    quiet, loud = features[:, : FRAMES - 103], features[:, FRAMES - 97 :]
    assert np.ptp(quiet) < 1e-6
    assert loud.max(axis=0).min() > quiet.max() + 0.5
    assert features == pytest.approx(log_mel(bytes(2 * (SAMPLES - 16_000)) + tone(440, 1000)), abs=1e-6)


def test_of_long_audio_the_last_eight_seconds_count() -> None:
    end = tone(440, 8000)
    assert np.array_equal(log_mel(noise(3000, level=0.3) + end), log_mel(end))


def test_loudness_and_offset_do_not_matter() -> None:
    loud, quiet = log_mel(tone(440, 8000, 0.8)), log_mel(tone(440, 8000, 0.2))
    assert loud.max() == pytest.approx(quiet.max(), abs=0.01)


def test_the_range_is_eighty_decibels() -> None:
    features = log_mel(tone(440, 1000))
    assert np.ptp(features) == pytest.approx(8 / 4, abs=1e-5)


def test_silence_and_no_audio_are_finite() -> None:
    assert np.isfinite(log_mel(b"")).all()
    assert np.array_equal(log_mel(b""), log_mel(bytes(64_000)))


def test_a_job_has_one_probability_of_its_own_audio(tmp_path: Path) -> None:
    smart_turn = loaded(stand_in(tmp_path / "model.onnx"))
    for pcm in (tone(440, 1000), tone(440, 1000) + bytes(32_000), noise(9000)):
        assert judged(smart_turn, pcm) == [pytest.approx(expected(pcm), abs=1e-5)]
    # The stand-in hears the end alone. Were the zeros on the other side, both probabilities would be the same.
    sound = noise(1000, level=0.3)
    ends_in_sound, ends_in_silence = judged(smart_turn, sound, sound + bytes(32_000))
    assert ends_in_sound > ends_in_silence + 0.1


def test_a_batch_is_judged_in_one_call(tmp_path: Path) -> None:
    smart_turn = loaded(stand_in(tmp_path / "model.onnx"))
    calls, session = [], smart_turn._session

    class Counting:
        def run(self, outputs: None, inputs: dict[str, npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
            calls.append(inputs[INPUT].shape)
            return list(session.run(outputs, inputs))

    smart_turn._session = Counting()
    several = [tone(440, 1000), noise(2000), bytes(32_000), tone(200, 500) + bytes(9000)]
    assert judged(smart_turn, *several) == pytest.approx([expected(pcm) for pcm in several], abs=1e-5)
    assert calls == [(4, MEL_BANDS, FRAMES)]


@pytest.mark.parametrize("flat", [False, True])
def test_a_model_for_single_utterances_is_called_for_each(tmp_path: Path, flat: bool) -> None:
    smart_turn = loaded(stand_in(tmp_path / "model.onnx", shape=(1, MEL_BANDS, FRAMES), flat=flat))
    several = [tone(440, 1000), noise(2000)]
    assert judged(smart_turn, *several) == pytest.approx([expected(pcm) for pcm in several], abs=1e-5)


def test_cancelled_jobs_are_left_out(tmp_path: Path) -> None:
    smart_turn = loaded(stand_in(tmp_path / "model.onnx"))
    jobs = [ListJob[TurnRequest, float](TurnRequest(tone(440, 500), "", "en")) for _ in range(3)]
    jobs[1].cancelled = True
    smart_turn.run(jobs)
    assert [len(job.outputs) for job in jobs] == [1, 0, 1]
    for job in jobs:
        job.cancelled = True
    smart_turn.run(jobs)
    assert [len(job.outputs) for job in jobs] == [1, 0, 1]


def test_a_missing_file_is_refused_with_the_settings() -> None:
    with pytest.raises(ValueError, match=r"smart_turn_model: there is no file 'nowhere/model\.onnx'"):
        SmartTurn.Options(smart_turn_model="nowhere/model.onnx")


def test_a_file_that_is_no_model_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(SettingsError, match=r"smart_turn_model: .* is no ONNX model"):
        loaded(str(path))


@pytest.mark.parametrize(
    ("shape", "name"),
    [(("batch", MEL_BANDS, FRAMES), "audio"), (("batch", 128, FRAMES), INPUT), (("batch", MEL_BANDS, 3000), INPUT)],
)
def test_a_model_with_other_inputs_is_refused(tmp_path: Path, shape: tuple[object, ...], name: str) -> None:
    path = stand_in(tmp_path / "model.onnx", shape=shape, name=name)
    with pytest.raises(SettingsError, match=r"no Smart Turn v3\. That takes input_features \[batch, 80, 800\]"):
        loaded(path)


def test_a_model_with_other_outputs_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = ["batch", MEL_BANDS, FRAMES]
    graph = helper.make_graph(
        [helper.make_node("Identity", [INPUT], ["hidden"])],
        "encoder",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, shape)],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(
        SettingsError, match=r"is no Smart Turn v3\..* gives \[\('tensor\(float\)', \['batch', 80, 800\]"
    ):
        loaded(str(path))


def test_a_repository_needs_the_hub_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install huggingface_hub"):
        loaded("pipecat-ai/smart-turn-v3")


def test_a_repository_is_taken_from_a_folder_with_models_else_from_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pipecat-ai" / "smart-turn-v3").mkdir(parents=True)
    stand_in(tmp_path / "pipecat-ai" / "smart-turn-v3" / "smart-turn-v3.2-cpu.onnx")
    monkeypatch.setenv("MODEL_FOLDERS", str(tmp_path))
    assert judged(loaded("pipecat-ai/smart-turn-v3"), tone(440, 500))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SettingsError, match=r"^smart_turn_model: HF_HUB_OFFLINE is set and not all of some/body"):
        loaded("some/body")


def test_it_hears_for_itself() -> None:
    assert not SmartTurn.needs_text
