"""The service over real websockets: who is let in, who is sent away and why, and how it ends."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from service import CLIENT, Service, eventually, main_hz, noise, utterance, wait_until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response

pytestmark = pytest.mark.anyio
TOKEN = "a secret"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.fixture(scope="module")
def strict() -> Iterator[Service]:
    """A service with a token, few places and narrow limits."""
    flags = ("--max_sessions=2", "--max_message_bytes=8192", "--allowed_origins=https://a.example")
    with Service(*flags, token=TOKEN) as running:
        yield running


async def refusal(url: str, **options: Any) -> Response:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, **CLIENT, **options):
            pass
    return caught.value.response


# The handshake


@pytest.mark.parametrize(
    "query", ["loud=1", "events=2", "events=1&paced=", "codec=opus", "bitrate_kbps=64", "codec=mp3&bitrate_kbps=63"]
)
async def test_an_unknown_query_is_refused_with_400(service: Service, query: str) -> None:
    response = await refusal(f"ws://127.0.0.1:{service.port}/ws?{query}")
    assert response.status_code == 400
    assert query.split("&")[-1].split("=")[0] in response.body.decode()


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}])
async def test_a_missing_or_wrong_token_is_refused_with_401(strict: Service, headers: dict[str, str]) -> None:
    response = await refusal(strict.url(), additional_headers=headers)
    assert response.status_code == 401
    assert TOKEN not in response.body.decode()


@pytest.mark.parametrize("header", [("X-API-Key", TOKEN), ("Authorization", f"Bearer {TOKEN}")])
async def test_the_token_is_taken_from_either_header(strict: Service, header: tuple[str, str]) -> None:
    async with strict.talk(additional_headers=[header]) as talk:
        assert json.loads(await talk.websocket.recv())["type"] == "session_started"


async def test_the_token_in_one_header_is_enough(strict: Service) -> None:
    """A proxy uses the other for itself."""
    headers = {"X-API-Key": TOKEN, "Authorization": "Bearer of the proxy"}
    async with strict.talk(additional_headers=headers) as talk:
        assert json.loads(await talk.websocket.recv())["type"] == "session_started"


async def test_a_foreign_origin_is_refused_with_403(strict: Service) -> None:
    response = await refusal(strict.url(), origin="https://b.example", additional_headers={"X-API-Key": TOKEN})
    assert response.status_code == 403
    assert "https://b.example" in response.body.decode()


@pytest.mark.parametrize("origin", ["https://a.example", "http://127.0.0.1:{port}"])
async def test_an_allowed_origin_and_the_own_host_are_let_in(strict: Service, origin: str) -> None:
    origin = origin.format(port=strict.port)
    async with strict.talk(origin=origin, additional_headers={"X-API-Key": TOKEN}) as talk:
        assert json.loads(await talk.websocket.recv())["type"] == "session_started"


async def test_while_loading_health_says_what_is_missing_and_handshakes_are_refused(tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    flags = ("--models=fakes", "--stt=scripted", f"--scripted_load_until={loaded}")
    with Service(*flags, ready=False) as loading:
        await eventually(lambda: loading.health()[1]["loading"] == ["stt"], "the other stages are ready")
        status, health = loading.health()
        assert (status, health["status"]) == (503, "loading")
        response = await refusal(loading.url())
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert loading.get("/")[0] == 200
        loaded.touch()
        await eventually(lambda: loading.health()[0] == 200, "ready")
        assert loading.health()[1]["loading"] == []
        async with loading.talk() as talk:
            assert (await talk.turn(utterance(500))).transcript == "one two"


def test_a_service_whose_models_cannot_load_ends_and_says_why() -> None:
    command = [sys.executable, "-m", "webservice_starlette", "--port=0", "--espeak_voice=nobody"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "speech-to-speech: espeak_voice: eSpeak NG has no voice 'nobody'" in ended.stderr


def test_a_port_in_use_is_one_line_and_exit_code_2(service: Service) -> None:
    command = [sys.executable, "-m", "webservice_starlette", "--profile=loadtest", f"--port={service.port}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("speech-to-speech: port: ")
    assert ended.stderr.count("\n") == 1


# Limits


async def test_one_session_too_many_is_closed_with_1013(strict: Service) -> None:
    await eventually(lambda: strict.sessions() == 0, "earlier sessions have ended")
    headers = {"X-API-Key": TOKEN}
    async with strict.talk(additional_headers=headers), strict.talk(additional_headers=headers):
        await eventually(lambda: strict.sessions() == 2, "both are in")
        async with strict.talk(additional_headers=headers) as third:
            code, reason, events = await third.closed()
            assert code == 1013
            assert reason is not None
            assert reason.startswith("service_full: ")
            assert [(event["code"], event["retryable"]) for event in events] == [("service_full", True)]
        assert strict.sessions() == 2
    await eventually(lambda: strict.sessions() == 0, "the places are free", 1.0)
    async with strict.talk(additional_headers=headers) as talk:
        assert json.loads(await talk.websocket.recv())["type"] == "session_started"


async def test_a_message_too_big_is_closed_with_1009(strict: Service) -> None:
    async with strict.talk(additional_headers={"X-API-Key": TOKEN}) as talk:
        await talk.websocket.send(bytes(8194))
        assert (await talk.closed())[0] == 1009


async def test_odd_audio_is_an_error_event_and_closes_with_1007_when_it_goes_on(service: Service) -> None:
    async with service.talk() as talk:
        await talk.websocket.send(b"odd")
        reply = await talk.turn(utterance(600))
        assert [(event["code"], event["turn_id"]) for event in reply.of("error")] == [("odd_audio", None)]
        assert reply.of("turn_ended")[0]["outcome"] == "spoken"
        await talk.websocket.send(b"odd")
        await talk.websocket.send(b"odd")
        code, reason, events = await talk.closed()
        assert code == 1007
        assert reason is not None
        assert reason.startswith("odd_audio: a message of 3 bytes")
        assert {event["code"] for event in events} == {"odd_audio"}


async def test_text_closes_with_1003_when_it_goes_on(service: Service) -> None:
    async with service.talk() as talk:
        for _ in range(3):
            await talk.websocket.send("hello")
        code, _, events = await talk.closed()
        assert code == 1003
        assert next(event["code"] for event in events if event["type"] == "error") == "text_not_audio"


async def test_without_events_a_client_gets_binary_messages_only(service: Service) -> None:
    async with service.talk(events=0) as talk:
        await talk.websocket.send(b"odd")
        reply = await talk.turn(utterance(600))
        assert reply.events == []
        assert reply.audio


@pytest.mark.parametrize(
    ("flag", "code"), [("--idle_timeout_s=0.5", "session_idle"), ("--session_timeout_s=0.5", "session_too_long")]
)
async def test_a_timeout_closes_with_its_reason(flag: str, code: str) -> None:
    with Service(flag) as running:
        async with running.talk() as talk, anyio.create_task_group() as tasks:

            async def keep_sending() -> None:
                while True:
                    await talk.websocket.send(bytes(2048))
                    await anyio.sleep(0.1)

            if code == "session_too_long":
                tasks.start_soon(ignoring_the_close, keep_sending)
            closed = await talk.closed(5.0)
            tasks.cancel_scope.cancel()
        assert closed[0] == 1008
        assert (closed[1] or "").startswith(f"{code}: ")
        assert closed[2][-1]["code"] == code


async def ignoring_the_close(send: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        await send()


# Connections that go wrong


async def test_a_dropped_connection_frees_its_session_within_a_second(service: Service) -> None:
    await eventually(lambda: service.sessions() == 0, "earlier sessions have ended")
    async with service.talk(paced=1) as talk:
        await talk.send(utterance(700))
        while isinstance(await talk.websocket.recv(), str):  # until its reply is under way
            pass
        assert service.metric("s2s_sessions") == 1
        talk.websocket.transport.abort()
        await eventually(lambda: service.metric("s2s_sessions") == 0, "its place is free", 1.0)
    assert service.health()[1]["sessions"] == 0


async def test_a_client_that_never_reads_is_sent_away_and_others_do_not_notice() -> None:
    flags = ("--models=fakes", "--tts=scripted", "--scripted_reply_s=100", "--send_timeout_s=1")
    with Service(*flags) as running, socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", running.port))
        narrow.setblocking(False)
        async with running.talk(sock=narrow) as lazy, running.talk() as other:
            await lazy.send(utterance(500))
            lazy.websocket.transport.pause_reading()
            reply = await other.turn(utterance(800))
            assert len(reply.audio) > 100 * 32_000
            name = 's2s_sessions_ended_total{reason="client_too_slow"}'
            await eventually(lambda: running.metric(name) == 1, "it is sent away", 10.0)
            assert running.sessions() == 1
            assert (await other.turn(utterance(800))).audio
            lazy.websocket.transport.abort()


# Conversations


async def one_turn(service: Service, hz: float, heard: dict[float, list[float]]) -> None:
    async with service.talk() as talk:
        for _ in range(2):
            reply = await talk.turn(utterance(hz))
            heard.setdefault(hz, []).append(main_hz(bytes(reply.audio)))


@pytest.mark.parametrize("conversations", [2, 16])
async def test_concurrent_conversations_each_get_their_own_reply(service: Service, conversations: int) -> None:
    heard: dict[float, list[float]] = {}
    async with anyio.create_task_group() as tasks:
        for number in range(conversations):
            tasks.start_soon(one_turn, service, 400.0 + 150 * number, heard)
    assert len(heard) == conversations
    for hz, replies in heard.items():
        assert replies == [pytest.approx(hz, abs=5)] * 2


async def test_metrics_have_the_histograms_of_turns(service: Service) -> None:
    before = service.metric("s2s_turn_first_audio_sent_seconds_count")
    async with service.talk() as talk:
        reply = await talk.turn(utterance(1000))
    assert service.metric("s2s_turn_first_audio_sent_seconds_count") == before + 1
    assert service.metric('s2s_turns_total{outcome="spoken"}') >= 1
    assert service.metric("s2s_stt_rtf_count") >= 1
    assert service.metric('s2s_worker_batch_size_count{stage="vad"}') > 1
    [ended] = reply.of("turn_ended")
    assert ended["outcome"] == "spoken"
    assert ended["first_audio_sent_ms"] >= ended["endpoint_ms"] > 0


async def test_the_status_page(service: Service) -> None:
    status, page = service.get("/")
    assert status == 200
    assert "ready" in page
    assert "loadtest" in page


# The end


async def test_sigterm_lets_a_reply_finish_and_refuses_new_sessions() -> None:
    with Service() as running:
        async with running.talk(paced=1) as talk, running.talk() as idle:
            await talk.send(utterance(700))
            while isinstance(await talk.websocket.recv(), str):
                pass
            begun = time.monotonic()
            os.kill(running.pid, signal.SIGTERM)
            code, reason, _ = await idle.closed(2.0)
            assert code == 1012
            assert (reason or "").startswith("service_stopping: ")
            response = await refusal(running.url())
            assert response.status_code == 503
            assert "Retry-After" in response.headers
            assert running.health()[0] == 503
            reply = await talk.reply(5.0)
            assert reply.of("turn_ended")[0]["outcome"] == "spoken"
            assert len(reply.audio) > 1.2 * 32_000
            assert (await talk.closed(2.0))[0] == 1012
        wait_until(lambda: running.process.poll() is not None, "it ends", 5.0)
        assert running.process.returncode == 0
        assert time.monotonic() - begun < 6.0


async def test_sigterm_to_the_whole_group_lets_a_transcript_finish() -> None:
    """What systemd and `timeout` send reaches the models' processes too."""
    with Service("--stt_worker=process", "--loadtest_stt_ms=400", own_group=True) as running:
        async with running.talk() as talk:
            await talk.send(utterance(700))
            while json.loads(await talk.websocket.recv())["type"] != "speech_stopped":
                pass
            os.killpg(running.pid, signal.SIGTERM)
            reply = await talk.reply(5.0)
            assert reply.of("turn_ended")[0]["outcome"] == "spoken"
        wait_until(lambda: running.process.poll() is not None, "it ends", 5.0)
        assert running.process.returncode == 0


async def test_a_reply_that_outlasts_the_drain_is_closed_with_1012() -> None:
    flags = ("--models=fakes", "--tts=scripted", "--scripted_reply_s=60", "--drain_timeout_s=0.5")
    with Service(*flags) as running:
        async with running.talk(paced=1) as talk:
            await talk.send(utterance(700))
            while isinstance(await talk.websocket.recv(), str):
                pass
            os.kill(running.pid, signal.SIGTERM)
            assert (await talk.closed(4.0))[0] == 1012
        wait_until(lambda: running.process.poll() is not None, "it ends", 5.0)
        assert running.process.returncode == 0


async def test_sigterm_without_sessions_ends_at_once() -> None:
    with Service() as running:
        running.process.terminate()
        wait_until(lambda: running.process.poll() is not None, "it ends", 3.0)
        assert running.process.returncode == 0


async def test_sigterm_while_loading_ends_the_service(tmp_path: Path) -> None:
    flags = ("--models=fakes", "--stt=scripted", f"--scripted_load_until={tmp_path / 'never'}")
    with Service(*flags, ready=False) as loading:
        loading.process.terminate()
        wait_until(lambda: loading.process.poll() is not None, "it ends", 6.0)
        assert loading.process.returncode == 0


async def test_nothing_of_a_conversation_is_in_the_log(service: Service) -> None:
    async with service.talk() as talk:
        reply = await talk.turn(noise(50) + utterance(700))
    assert "hertz" in reply.transcript
    assert "hertz" not in service.log()
