"""Open a websocket over a plain socket."""

import base64
import os
import socket
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


class Refused(Exception):
    """The server did not switch to the websocket protocol."""


def connect(url: str) -> tuple[socket.socket, bytes]:
    """Return a non-blocking connected socket and what the server already sent after its answer.

    `url` is `ws://host:port/path?query`. Raises Refused with the status line, or OSError.
    """
    parts = urlsplit(url)
    if parts.scheme != "ws":
        raise ValueError(f"{url!r} is not a ws:// address")
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = socket.create_connection(address, TIMEOUT_S)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {target} HTTP/1.1", f"Host: {address[0]}:{address[1]}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = connection.recv(4096)
            if not data:
                raise Refused(f"{url}: closed during the handshake")
            answer += data
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].decode(errors="replace")
        if " 101 " not in status + " ":
            raise Refused(f"{url}: {status} {rest.decode(errors='replace').strip()}")
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection, rest
