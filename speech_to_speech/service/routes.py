"""What the service answers to requests beside conversations: its status, health and metrics."""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.websockets import WebSocket

from speech_to_speech.service.service import Service

STATUS_PAGE = """<!doctype html><meta charset="utf-8"><title>speech to speech</title>
<h1>speech to speech: {status}</h1>
<p>Profile {profile}, {sessions} conversations. Talk to it at <code>/ws</code> with audio_streaming_client.py.
See also <a href="health">health</a> and <a href="metrics">metrics</a>.</p>
"""


def service_of(request: Request | WebSocket) -> Service:
    service: Service = request.app.state.handler.service
    return service


async def status_page(request: Request) -> Response:
    _, particulars = service_of(request).health()
    return HTMLResponse(STATUS_PAGE.format(**particulars))


async def health(request: Request) -> Response:
    """200 only if every model is loaded, warm and not stuck, else 503."""
    healthy, particulars = service_of(request).health()
    return JSONResponse(particulars, 200 if healthy else 503)


async def metrics(request: Request) -> Response:
    return Response(generate_latest(service_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def no_such_websocket(websocket: WebSocket) -> None:
    await websocket.send_denial_response(Response("the conversation is at /ws\n", 404, media_type="text/plain"))
