"""From pending to running, with what the platform says on the way."""

import time

from huggingface_hub import InferenceEndpoint

from endpoint.advice import command, logs, message_of
from endpoint.errors import EndpointError, Unreachable
from endpoint.management import Platform
from endpoint.terminal import Terminal

POLL_S = 5.0
STARTED = {"running", "scaledToZero"}
FAILED = {"failed", "updateFailed"}


def wait(platform: Platform, endpoint: InferenceEndpoint, limit_s: float, terminal: Terminal) -> InferenceEndpoint:
    """The endpoint when it runs; a line for every change until then.

    A platform that can't be reached meanwhile is asked on until the time is over.

    Raises:
        EndpointError: it failed, was paused or deleted, or `limit_s` seconds are over.
    """
    start_s, shown = time.monotonic(), ""
    while True:
        waited_s = time.monotonic() - start_s
        state, message = str(endpoint.status), message_of(endpoint)
        now = f"{endpoint.name}: {state}{f', {message}' if message else ''}"
        if now != shown:
            terminal.say(f"{waited_s:5.0f} s  {now}")
            shown = now
        if state in FAILED:
            raise EndpointError(
                f"{endpoint.name} did not start: {message or state}; its log: {logs(endpoint.name, platform.namespace)}"
            )
        if state == "paused":
            resume = command("resume", endpoint.name, platform.namespace)
            raise EndpointError(f"{endpoint.name} is paused, so it does not start: `{resume}`")
        if state in STARTED and endpoint.url:
            return endpoint
        if waited_s >= limit_s:
            raise EndpointError(
                f"{endpoint.name} does not run yet after {limit_s:.0f} s ({state}); it may only need more time; "
                f"its log says what it does: {logs(endpoint.name, platform.namespace)}"
            )
        time.sleep(max(0.0, min(POLL_S, limit_s - waited_s)))
        try:
            endpoint = platform.get(endpoint.name)
        except Unreachable as error:
            terminal.note(str(error))
