"""What can go wrong, as types."""

RETRY_CLOSE = (1001, 1005, 1006, 1011, 1012, 1013)


class ClientError(Exception):
    """Something the user must know: one line, and the exit code."""

    exit_code = 1


class UsageError(ClientError):
    """The client cannot run like this."""

    exit_code = 2


class Dropped(Exception):
    """The connection ended: a websocket close code (1006 when the network failed) and the reason given."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason or 'no reason given'} (close code {code})")
        self.retryable = code in RETRY_CLOSE
