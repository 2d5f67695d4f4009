"""The request as it would be sent, from huggingface_hub itself, without the secrets."""

import json
from typing import Any

import httpx2
from huggingface_hub import HfApi, set_client_factory

from endpoint.management import use_own_client
from endpoint.request import Request
from endpoint.terminal import MASK

NAMESPACE = "YOUR-ACCOUNT"  # only the platform knows the account, and a dry run does not ask


class _Kept(Exception):
    def __init__(self, request: httpx2.Request) -> None:
        self.request = request


def dry_run(request: Request, update: bool) -> str:
    """Method, address and body, as lines of text."""

    def keep(sent: httpx2.Request) -> httpx2.Response:
        raise _Kept(sent)

    set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(keep)))
    api, namespace = HfApi(token=False), request.namespace or NAMESPACE
    try:
        if update:
            api.update_inference_endpoint(request.name, namespace=namespace, **request.to_update())
        else:
            api.create_inference_endpoint(request.name, namespace=namespace, **request.to_create())
    except _Kept as kept:
        body = masked(json.loads(kept.request.content))
        return f"{kept.request.method} {kept.request.url}\n{json.dumps(body, indent=2)}"
    finally:
        use_own_client()
    raise AssertionError("the request is kept")


def masked(body: dict[str, Any]) -> dict[str, Any]:
    model = body["model"]
    model["secrets"] = dict.fromkeys(model.get("secrets", ()), MASK)
    if credentials := model["image"]["custom"].get("credentials"):
        credentials["password"] = MASK
    return body
