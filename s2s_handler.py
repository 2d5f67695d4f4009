"""The endpoint: models loaded once, and a conversation for every connection."""

from starlette.responses import Response
from starlette.websockets import WebSocket

from speech_to_speech.config.settings import Settings
from speech_to_speech.errors import HandshakeRefused
from speech_to_speech.service.access import check_access
from speech_to_speech.service.service import Service
from speech_to_speech.wire.ws.connection import converse, require_codec
from speech_to_speech.wire.ws.messages import StreamOptions, decode_query
from speech_to_speech.wire.ws.refusals import STATUSES


def prepare_handler(settings: Settings) -> "EndpointHandler":
    """The handler for some settings; its models load when its `run` is started."""
    return EndpointHandler(settings)


class EndpointHandler:
    """Everything that the connections of a process share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.service = Service(settings)

    async def run(self) -> None:
        """Load the models, then look after the conversations until cancelled."""
        await self.service.run()

    def admit(self, websocket: WebSocket) -> StreamOptions:
        """What a handshake asks for.

        Raises:
            HandshakeRefused: it is not let in.
        """
        check_access(self.settings, websocket.headers)
        options = decode_query(websocket.query_params.multi_items())
        require_codec(options)
        self.service.require_ready()
        return options

    async def process_streaming_data(self, websocket: WebSocket) -> None:
        """Hold the conversation of one websocket, from its handshake to its end."""
        try:
            options = self.admit(websocket)
        except HandshakeRefused as error:
            headers = {"Retry-After": "1"} if error.retryable else {}
            refusal = Response(f"{error}\n", STATUSES[type(error)], headers, "text/plain")
            await websocket.send_denial_response(refusal)
            return
        await websocket.accept()
        await converse(
            websocket,
            options,
            self.service,
            max_message_bytes=self.settings.max_message_bytes,
            bad_message_limit=self.settings.bad_message_limit,
        )
