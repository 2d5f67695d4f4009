"""The cost of each part per 20 ms frame, as CPU time of the server, so that the next bottleneck is visible."""

import argparse
import sys

from benchmarks.tables import table
from benchmarks.units import FRAME_MS, FRAMES_PER_MINUTE, WINDOW_SAMPLES
from benchmarks.vad_cost import BATCHES, framing_us, model_us_per_window, whole_path_us
from benchmarks.websocket_cost import receive_and_send_us

FRAMES_PER_WINDOW = WINDOW_SAMPLES / 16 / FRAME_MS
TURN_S, REPLY_S = 5.0, 1.4
"""What a turn of the load generator takes, about, and the part of the turn that is a reply, in which the VAD rests."""
FEW = 32
"""The VAD path is also measured with so few sessions, to show what sharing batches brings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--sessions", type=int, default=192, help="lines at once (default 192)")
    parser.add_argument("--seconds", type=float, default=5, help="for each figure taken in real time (default 5)")
    parser.add_argument(
        "--protocols", default="auto,websockets", help="uvicorn's ws= implementations, the service's own first"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    sessions, seconds = arguments.sessions, arguments.seconds
    counts = sorted({min(FEW, sessions), sessions})
    rows: list[list[object]] = []
    sockets = []
    for protocol in arguments.protocols.split(","):
        _say(f"websocket {protocol}")
        receive, send = receive_and_send_us(protocol, sessions, seconds)
        sockets.append((receive, send))
        rows.append([f"websocket receive, Starlette on uvicorn, {protocol}", f"{sessions} lines", receive])
        rows.append([f"websocket send, {protocol}", f"{sessions} lines", send])
    _say("framing")
    for count in counts:
        rows.append(["framing: buffer, cut windows, batch, endpoint", f"{count} sessions", framing_us(count, seconds)])
    _say("VAD model")
    model = model_us_per_window()
    for batch in BATCHES:
        whole, call = model[batch]
        rows.append(["VAD model call (ONNX)", f"batch {batch}", call / FRAMES_PER_WINDOW])
        rows.append(["...with packing and unpacking", f"batch {batch}", whole / FRAMES_PER_WINDOW])
    _say("VAD path")
    paths = {count: whole_path_us(count, seconds) for count in counts}
    for count, path in paths.items():
        rows.append(["whole VAD path: framing, thread, model", f"{count} sessions", path])
    print(table(["part", "at", "CPU µs per 20 ms frame"], rows))
    print("\n" + _sum(sockets[0], paths[sessions], sessions, arguments.protocols.split(",")[0]))
    return 0


def _sum(socket: tuple[float, float], path: float, sessions: int, protocol: str) -> str:
    receive_s = socket[0] * FRAMES_PER_MINUTE / 1e6
    vad_s = path * FRAMES_PER_MINUTE * (1 - REPLY_S / TURN_S) / 1e6
    send_s = socket[1] * FRAMES_PER_MINUTE * (REPLY_S / TURN_S) / 1e6
    rows: list[list[object]] = [
        ["websocket receive", receive_s],
        ["VAD path, while listening", vad_s],
        ["websocket send, while replying", send_s],
        ["together", receive_s + vad_s + send_s],
    ]
    title = f"With {sessions} conversations, a turn of {TURN_S:g} s with {REPLY_S:g} s of reply, {protocol}:"
    return title + "\n\n" + table(["part", "CPU s per conversation-minute"], rows)


def _say(what: str) -> None:
    print(f"parts: {what} ...", file=sys.stderr, flush=True)
