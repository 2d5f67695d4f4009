"""What is done for one session on its way through the VAD."""

import pytest
from test_vad import OPTIONS, SILENCE, SPEECH, ByHand, Heard, anyio_backend, listening

from speech_to_speech.frames import VadEvent, VadFailed, VoiceStarted
from speech_to_speech.vad.base import WINDOW_MS

pytestmark = pytest.mark.anyio
__all__ = ["anyio_backend"]


@pytest.mark.parametrize("breaks", ["clean", "event", "both"])
async def test_a_defect_in_one_session_leaves_the_others_alone(breaks: str) -> None:
    told: list[VadEvent] = []

    def clean(window: bytes, end_ms: float) -> bytes:
        if breaks != "event":
            raise ZeroDivisionError
        return window

    def on_event(event: VadEvent) -> None:
        if breaks == "both" or not isinstance(event, VadFailed):
            raise ZeroDivisionError
        told.append(event)

    async with listening(ByHand()) as stage:
        heard = Heard()
        broken, whole = stage.open(OPTIONS, on_event, clean), stage.open(OPTIONS, heard)
        for stream in (broken, whole):
            stream.push(SPEECH * 3)
        await heard.until(1)
        stage.close(broken)
        whole.push(SILENCE * 20)
        await heard.until(2)
        assert [type(event) for event in told] == ([] if breaks == "both" else [VadFailed])


async def test_each_window_is_cleaned_once_before_it_is_judged_with_its_place() -> None:
    places: list[float] = []

    def clean(window: bytes, end_ms: float) -> bytes:
        places.append(end_ms)
        return SILENCE if window == SPEECH else SPEECH

    model = ByHand()
    async with listening(model) as stage:
        heard = Heard()
        stream = stage.open(OPTIONS, heard, clean)
        stream.push(SPEECH * 3 + SILENCE)
        [started] = await heard.until(1)
        assert started == VoiceStarted(3 * WINDOW_MS)
        assert places == [WINDOW_MS * number for number in (1, 2, 3, 4)]
        assert [window for batch in model.batches for window in batch] == [SILENCE] * 3 + [SPEECH]
