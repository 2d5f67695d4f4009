"""What ends a command: one line for the person who gave it, and an exit code."""

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


class EndpointError(Exception):
    """The platform refused, failed or can't be reached; the message names what to do. Notes say what is left over."""

    exit_code = FAILED


class BadInput(EndpointError):
    """Nothing was asked of the platform, or nothing that changes anything: the command itself is wrong."""

    exit_code = MISUSED


class Unreachable(EndpointError):
    """The platform gives no answer, or no sound one, however often it is asked."""


class Gone(EndpointError):
    """There is no such endpoint."""
