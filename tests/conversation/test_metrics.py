"""A turn's record, its log line, and the Prometheus metrics."""

import json
import logging
import re

import pytest
from prometheus_client import generate_latest

from speech_to_speech.conversation import turn_record as record_module
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.turn_record import STEPS, TurnRecord


def spoken() -> TurnRecord:
    """A turn whose speech ended at 100 s and whose steps came a tenth of a second after each other."""
    record = TurnRecord("session-7", "session-7-1", speech_end=100.0, speech_ms=2000.0)
    for number, step in enumerate(STEPS, 1):
        setattr(record, step, 100.0 + number / 10)
    record.reply_ms, record.stt_s, record.tts_s, record.tts_audio_ms = 1500.0, 0.5, 0.25, 1000.0
    return record


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_times_count_from_the_end_of_speech() -> None:
    record = spoken()
    assert [record.since_speech_ms(step) for step in STEPS] == [100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0]


def test_a_step_that_did_not_happen_is_none() -> None:
    record = TurnRecord("s", "t", speech_end=100.0)
    assert [record.since_speech_ms(step) for step in STEPS] == [None] * len(STEPS)


def test_only_the_first_mark_of_a_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 2.0])
    monkeypatch.setattr(record_module.time, "monotonic", lambda: next(times))
    record = TurnRecord("s", "t")
    record.mark("first_token")
    record.mark("first_token")
    assert record.first_token == 1.0


def test_real_time_factors_are_compute_time_by_audio_time() -> None:
    record = spoken()
    assert (record.stt_rtf, record.tts_rtf) == (0.25, 0.25)


def test_without_audio_there_is_no_real_time_factor() -> None:
    record = TurnRecord("s", "t")
    assert (record.stt_rtf, record.tts_rtf) == (None, None)


def test_a_record_is_json() -> None:
    fields = spoken().fields()
    assert json.loads(json.dumps(fields)) == fields
    assert fields["outcome"] == "spoken"
    assert fields["error"] is None


def test_a_turn_is_one_log_line_of_ids_and_numbers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Metrics().observe_turn(spoken())
    (line,) = (entry.getMessage() for entry in caplog.records)
    assert line.startswith("session=session-7 turn_id=session-7-1 outcome=spoken error=None speech_ms=2000.0 ")
    for field in line.split():
        assert re.fullmatch(r"\w+=(session-7(-1)?|spoken|None|False|[\d.]+)", field)


def test_turns_are_counted_by_outcome() -> None:
    metrics = Metrics()
    for outcome in ("spoken", "spoken", "failed"):
        record = spoken()
        record.outcome = outcome  # type: ignore[assignment]
        metrics.observe_turn(record)
    assert value(metrics, "s2s_turns_total", outcome="spoken") == 2
    assert value(metrics, "s2s_turns_total", outcome="failed") == 1


def test_the_steps_of_a_turn_are_observed_in_seconds() -> None:
    metrics = Metrics()
    metrics.observe_turn(spoken())
    for number, step in enumerate(STEPS, 1):
        assert value(metrics, f"s2s_turn_{step}_seconds_count") == 1
        assert value(metrics, f"s2s_turn_{step}_seconds_sum") == pytest.approx(number / 10)


def test_steps_that_did_not_happen_are_not_observed() -> None:
    metrics = Metrics()
    metrics.observe_turn(TurnRecord("s", "t", outcome="empty"))
    for step in STEPS:
        assert value(metrics, f"s2s_turn_{step}_seconds_count") == 0
    assert value(metrics, "s2s_stt_rtf_count") == 0
    assert value(metrics, "s2s_tts_rtf_count") == 0


def test_real_time_factors_are_observed() -> None:
    metrics = Metrics()
    metrics.observe_turn(spoken())
    assert value(metrics, "s2s_stt_rtf_sum") == 0.25
    assert value(metrics, "s2s_tts_rtf_sum") == 0.25


def test_batches_are_observed_by_stage() -> None:
    metrics = Metrics()
    metrics.observe_batch("vad", 8)
    metrics.observe_batch("vad", 4)
    assert value(metrics, "s2s_worker_batch_size_count", stage="vad") == 2
    assert value(metrics, "s2s_worker_batch_size_sum", stage="vad") == 12
    assert value(metrics, "s2s_worker_batch_size_count", stage="stt") is None


def test_two_services_of_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.observe_turn(spoken())
    assert value(second, "s2s_turns_total", outcome="spoken") is None


def test_the_exposition_has_no_ids() -> None:
    metrics = Metrics()
    metrics.observe_turn(spoken())
    text = generate_latest(metrics.registry).decode()
    assert 's2s_turns_total{outcome="spoken"} 1.0' in text
    assert "session-7" not in text
