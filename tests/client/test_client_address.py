"""Where the client connects to, and which token it takes there."""

import pytest

from speech_to_speech.client.address import auth_headers, is_exposed, websocket_url
from speech_to_speech.client.errors import UsageError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://localhost:8000", "ws://localhost:8000/ws"),
        ("https://a.example/", "wss://a.example/ws"),
        ("ws://[::1]:80/ws", "ws://[::1]:80/ws"),
        ("WSS://a.example/other#part", "wss://a.example/other"),
    ],
)
def test_url(given: str, expected: str) -> None:
    assert websocket_url(given, paced=True) == expected + "?events=1&paced=1"
    assert websocket_url(given, paced=False) == expected + "?events=1&paced=0"


def test_url_keeps_its_query() -> None:
    assert websocket_url("ws://a/ws?x=1&paced=1", paced=False) == "ws://a/ws?x=1&events=1&paced=0"


def test_full_duplex_is_asked_for() -> None:
    asked = websocket_url("ws://a/ws?full_duplex=0", paced=True, full_duplex=True)
    assert asked == "ws://a/ws?events=1&paced=1&full_duplex=1"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("wss://huggingface.co/ws", True),
        ("wss://abc.eu-west-1.aws.endpoints.huggingface.cloud/ws", True),
        ("wss://me-space.hf.space/ws", False),
        ("wss://ABC.HuggingFace.cloud/ws", True),
        ("ws://abc.endpoints.huggingface.cloud/ws", False),
        ("ws://localhost:8000/ws", False),
        ("wss://example.com/ws", False),
        ("wss://nothuggingface.co/ws", False),
        ("wss://huggingface.co.example.com/ws", False),
        ("wss://example.com/x.huggingface.co", False),
    ],
)
def test_hf_token_goes_to_hugging_face_over_tls_only(url: str, sent: bool) -> None:
    assert auth_headers(url, None, {"HF_TOKEN": "hf_x"}) == (["Authorization: Bearer hf_x"] if sent else [])


def test_explicit_tokens_go_where_the_user_says() -> None:
    env = {"HF_TOKEN": "hf_x", "S2S_API_TOKEN": "own\n"}
    expected = ["Authorization: Bearer mine", "X-API-Key: own"]
    assert auth_headers("ws://localhost/ws", "mine", env) == expected
    assert auth_headers("wss://x.hf.space/ws", "mine", env) == expected


def test_token_cannot_add_a_header() -> None:
    with pytest.raises(UsageError) as caught:
        auth_headers("ws://localhost/ws", "mine\r\nX-Evil: 1", {})
    assert "mine" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("ws://example.com/ws", True),
        ("ws://192.168.0.7:8000/ws", True),
        ("ws://localhost.example.com/ws", True),
        ("wss://example.com/ws", False),
        ("ws://localhost:8000/ws", False),
        ("ws://127.0.0.2/ws", False),
        ("ws://[::1]:8000/ws", False),
    ],
)
def test_a_token_is_exposed_without_tls_outside_this_machine(url: str, exposed: bool) -> None:
    assert is_exposed(url) is exposed
