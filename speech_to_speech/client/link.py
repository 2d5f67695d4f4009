"""The connection: one websocket, and the patience to get it."""

import contextlib
import random
import select
import socket
import ssl
import struct
import time
import urllib.parse
from collections.abc import Iterator

import websocket

from speech_to_speech.client.address import host_of, is_exposed, is_loopback
from speech_to_speech.client.console import Console, printable
from speech_to_speech.client.errors import ClientError, Dropped

HANDSHAKE_TIMEOUT_S = 30.0
SEND_TIMEOUT_S = 10.0
READ_STEP_S = 0.05  # the longest that a half-arrived message may keep the microphone waiting
PING_EVERY_S = 10.0
SILENT_LINK_S = 30.0  # a link is dead after so long without a message or an answer to a ping
STARTING_S = 15.0  # a refused connection to this machine may mean "still starting" for so long
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0
RETRY_STATUS = (502, 503)
MESSAGE_MAX_BYTES = 16 << 20


class BoundedFrames(websocket.frame_buffer):
    """Refuses a frame when its length is announced: websocket-client takes any."""

    def recv_strict(self, bufsize: int) -> bytes:
        require_short(bufsize)
        return super().recv_strict(bufsize)


class BoundedMessage(websocket.continuous_frame):
    """The same for a message in many frames."""

    def add(self, frame: websocket.ABNF) -> None:
        super().add(frame)
        require_short(len(self.cont_data[1]) if self.cont_data else 0)


def require_short(size: int) -> None:
    if size > MESSAGE_MAX_BYTES:
        raise Dropped(websocket.STATUS_MESSAGE_TOO_BIG, f"a message of more than {MESSAGE_MAX_BYTES >> 20} MiB")


class Link:
    """One websocket. One thread reads and writes it: two at once, an OpenSSL connection does not bear."""

    def __init__(self, url: str, headers: list[str], timeout_s: float = HANDSHAKE_TIMEOUT_S) -> None:
        context = ssl.create_default_context()  # certificates are always verified; SSL_CERT_FILE is honoured
        # A redirect would carry the tokens to another host. An Origin header is a browser's.
        self._ws = websocket.create_connection(
            url,
            timeout=timeout_s,
            sslopt={"context": context},
            header=headers,
            suppress_origin=True,
            redirect_limit=0,
            http_no_proxy=["*"] if is_loopback(host_of(url)) else None,
        )
        self._ws.frame_buffer = BoundedFrames(self._ws.frame_buffer.recv, skip_utf8_validation=False)
        self._ws.cont_frame = BoundedMessage(fire_cont_frame=False, skip_utf8_validation=False)
        self._ws.settimeout(SEND_TIMEOUT_S)
        assert self._ws.sock is not None
        self._sock = self._ws.sock
        self._heard_s = self._pinged_s = time.monotonic()

    def send(self, message: bytes | str) -> None:
        """Raises Dropped."""
        try:
            self._ws.send(message) if isinstance(message, str) else self._ws.send_binary(message)
        except (OSError, websocket.WebSocketException) as error:
            for _ in range(20):  # a message that waits may say why sending failed
                self._read()
            raise Dropped(1006, printable(error)) from None

    def receive(self, wait_s: float, wake: socket.socket | None) -> Iterator[bytes | str]:
        """The messages that are there, after waiting at most `wait_s` seconds for one or for `wake`. Raises Dropped."""
        watched = [self._sock, *([wake] if wake else [])]
        ready = self._pending() or self._sock in select.select(watched, [], [], wait_s)[0]
        self._keep_alive()
        for _ in range(64):  # after so many messages the sender has its turn
            if not ready:
                break
            message = self._read()
            if message is not None:
                yield message
            ready = self._pending() or bool(select.select([self._sock], [], [], 0)[0])

    def _pending(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _read(self) -> bytes | str | None:
        """The next message; None for a control frame, or when the rest of a message has not come yet."""
        self._ws.settimeout(READ_STEP_S)
        try:
            opcode, data = self._ws.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return None  # the library keeps the part of a message that is there
        except (OSError, websocket.WebSocketException) as error:
            raise Dropped(1006, printable(error)) from None
        finally:
            self._ws.settimeout(SEND_TIMEOUT_S)
        self._heard_s = time.monotonic()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
            raise Dropped(code, printable(data[2:].decode("utf-8", "replace")))
        if opcode == websocket.ABNF.OPCODE_TEXT:
            return bytes(data).decode("utf-8", "replace")
        return bytes(data) if opcode == websocket.ABNF.OPCODE_BINARY else None

    def _keep_alive(self) -> None:
        now = time.monotonic()
        if now - self._heard_s > SILENT_LINK_S:
            raise Dropped(1006, "the service has stopped answering")
        if now - self._pinged_s > PING_EVERY_S:
            self._pinged_s = now
            with contextlib.suppress(OSError, websocket.WebSocketException):  # the next read tells of a failure
                self._ws.ping()

    def close(self) -> None:
        self._ws.close(timeout=1)
        self._sock.close()


class Backoff:
    """Jittered exponential waiting, ten seconds at most each and `total_s` together."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._start_s = time.monotonic()
        self._count = 0

    @property
    def left_s(self) -> float:
        return self._start_s + self._total_s - time.monotonic()

    def wait(self, why: str, console: Console, at_least_s: float = 0.0) -> None:
        """Raises ClientError when the time is used up."""
        waited_s = time.monotonic() - self._start_s
        if waited_s >= self._total_s:
            raise ClientError(f"gave up after {waited_s:.0f} s: {why}; --start_timeout sets how long to wait")
        delay_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._count, 6)) * random.uniform(0.5, 1.0)
        self._count += 1
        console.note(f"waiting for the service, {waited_s:.0f} s so far: {why}")
        time.sleep(min(max(delay_s, at_least_s), LONGEST_WAIT_S, self._total_s - waited_s))


def connect(url: str, headers: list[str], backoff: Backoff, console: Console, again: bool) -> Link:
    """Open the connection, waiting while the endpoint starts; `again`: a lost one, so network errors are waited for.

    Raises:
        ClientError: the service refuses, or waiting does not help.
    """
    host, place = host_of(url), urllib.parse.urlsplit(url).netloc
    starting_until_s = time.monotonic() + (STARTING_S if is_loopback(host) else 0.0)
    while True:
        at_least_s = 0.0
        try:
            return Link(url, headers, min(HANDSHAKE_TIMEOUT_S, max(0.1, backoff.left_s)))
        except websocket.WebSocketBadStatusException as error:
            reason = printable((error.resp_body or b"").decode("utf-8", "replace").strip().split("\n")[0], 300)
            why = f"the service answered {error.status_code}{': ' + reason if reason else ''}"
            if error.status_code in (401, 403):
                hint = (
                    "; over ws:// S2S_API_TOKEN is not sent, since anybody on the way could read it"
                    if is_exposed(url)
                    else ""
                )
                raise ClientError(f"{why}; check --auth_token, HF_TOKEN or S2S_API_TOKEN{hint}") from None
            if error.status_code not in RETRY_STATUS:
                raise ClientError(f"{why}; check --api_url") from None
            with contextlib.suppress(ValueError):
                at_least_s = float((error.resp_headers or {}).get("retry-after", 0))
        except ssl.SSLCertVerificationError as error:
            hint = "SSL_CERT_FILE can name a file with your own authority"
            raise ClientError(f"the certificate of {host} is not trusted: {error.verify_message}; {hint}") from None
        except (OSError, UnicodeError, websocket.WebSocketException) as error:  # UnicodeError: not a host name
            why = f"cannot connect to {place}: {printable(getattr(error, 'strerror', None) or error)}"
            held = isinstance(error, websocket.WebSocketTimeoutException)  # a proxy waits for the endpoint
            lost = isinstance(error, ConnectionError | websocket.WebSocketConnectionClosedException)
            if not (again or held or (lost and time.monotonic() < starting_until_s)):
                raise ClientError(f"{why}; check --api_url, and that the service runs") from None
        backoff.wait(why, console, at_least_s)
