"""The platform's management API, asked through huggingface_hub: with time limits, and again where that is safe."""

import functools
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub import HfApi, InferenceEndpoint, InferenceEndpointHardware, set_client_factory
from huggingface_hub.errors import HfHubHTTPError

from endpoint.errors import EndpointError, Gone, Unreachable
from endpoint.problems import ASKED, TRIES, UNSENT, is_transient, problem_of, wait_s, what_happened
from endpoint.request import Request
from endpoint.terminal import Terminal

T = TypeVar("T")
TIMEOUT_S = 30.0  # the limit of each step of a request; huggingface_hub itself would wait for ever


class MaybeMade(Unreachable):
    """It is not known whether the endpoint was created."""


class Platform:
    """One account's endpoints. Every method raises EndpointError: one line that says what to do."""

    def __init__(self, token: str, namespace: str | None, terminal: Terminal) -> None:
        use_own_client()
        self._api = HfApi(token=token)
        self._terminal = terminal
        self._name = ""
        self.namespace = namespace or ""
        if not self.namespace:
            self.namespace = self._own_namespace()

    def _own_namespace(self) -> str:
        account = self._ask(self._api.whoami)
        if account.get("type") != "user":
            raise EndpointError("the token is not a user's: say whose endpoints are meant with --namespace")
        return str(account["name"])

    def get(self, name: str) -> InferenceEndpoint:
        """Raises Gone if there is no such endpoint."""
        self._name = name
        return self._ask(lambda: self._api.get_inference_endpoint(name, namespace=self.namespace))

    def find(self, name: str) -> InferenceEndpoint | None:
        """The endpoint, None if there is none of that name."""
        try:
            return self.get(name)
        except Gone:
            return None

    def create(self, request: Request) -> InferenceEndpoint:
        """Make an endpoint, once: what may have reached the platform is not sent again before a look at what is there.

        Raises:
            MaybeMade: the platform can't be asked either.
        """
        self._name = request.name
        arguments = request.to_create()
        lost = False  # an earlier request may have been carried out
        for attempt in range(1, TRIES + 1):
            try:
                return self._api.create_inference_endpoint(request.name, namespace=self.namespace, **arguments)
            except ASKED as error:
                problem, failure = self._problem(error), error
            status = failure.response.status_code if isinstance(failure, HfHubHTTPError) else None
            if status == 409 and not lost:
                raise EndpointError(exists(request.name, self.namespace))
            if status == 404:
                raise EndpointError(f"there is no account {self.namespace} for endpoints; check --namespace")
            if isinstance(failure, (HfHubHTTPError, *UNSENT)) and not is_transient(failure) and status != 409:
                raise problem
            if status != 429 and not isinstance(failure, UNSENT):
                lost = True
                self._terminal.note(
                    f"{what_happened(failure)}; looking whether {request.name} was created all the same"
                )
                try:
                    found = self.find(request.name)
                except EndpointError as error:
                    raise MaybeMade(f"{what_happened(failure)}, and then: {error}") from None
                if found is not None:
                    return found
            pause_s = wait_s(failure, attempt)
            if attempt == TRIES or pause_s is None:
                break
            self._terminal.note(f"{what_happened(failure)}; again in {pause_s:.0f} s")
            time.sleep(pause_s)
        raise type(problem)(f"{problem}; {request.name} was not created")

    def update(self, request: Request) -> InferenceEndpoint:
        """Change an endpoint to what is requested; the same twice is the same."""
        self._name = request.name
        arguments = request.to_update()
        return self._ask(
            lambda: self._api.update_inference_endpoint(request.name, namespace=self.namespace, **arguments)
        )

    def pause(self, name: str) -> InferenceEndpoint:
        self._name = name
        return self._switch(lambda: self._api.pause_inference_endpoint(name, namespace=self.namespace), {"paused"})

    def resume(self, name: str) -> InferenceEndpoint:
        self._name = name
        started = {"pending", "initializing", "updating", "running", "scaledToZero"}
        return self._switch(lambda: self._api.resume_inference_endpoint(name, namespace=self.namespace), started)

    def _switch(self, ask: Callable[[], InferenceEndpoint], wanted: set[str]) -> InferenceEndpoint:
        """Ask for a state. A refusal because it is there already, also by a lost first try, is none."""
        try:
            return self._ask(ask)
        except Refused as refusal:
            endpoint = self.get(self._name)
            if endpoint.status in wanted:
                return endpoint
            raise refusal from None

    def delete(self, name: str) -> None:
        """Remove an endpoint; that it is gone already is no error."""
        self._name = name
        try:
            self._ask(lambda: self._api.delete_inference_endpoint(name, namespace=self.namespace))
        except Gone:
            return

    def hardware(self) -> list[InferenceEndpointHardware]:
        """What an endpoint can run on in all regions, with prices in USD an hour and the account's quota."""
        return self._ask(lambda: self._api.list_inference_endpoints_hardware(namespace=self.namespace))

    def _ask(self, ask: Callable[[], T]) -> T:
        """Ask what can be asked twice, again while that may help."""
        for attempt in range(1, TRIES + 1):
            try:
                return ask()
            except ASKED as error:
                pause_s = wait_s(error, attempt) if is_transient(error) and attempt < TRIES else None
                if pause_s is None:
                    raise self._problem(error) from None
                self._terminal.note(f"{what_happened(error)}; again in {pause_s:.0f} s")
            time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def _problem(self, error: Exception) -> EndpointError:
        problem = problem_of(error, self._name, self.namespace)
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (400, 409):
            return Refused(str(problem))
        return problem


class Refused(EndpointError):
    """The platform does not do that with this endpoint, or not in the state in which it is."""


def use_own_client() -> None:
    """Have huggingface_hub send its requests with time limits, never on to another address (secrets are in them), and
    without its debug log, which has the requests' bodies."""
    set_client_factory(lambda: httpx2.Client(timeout=TIMEOUT_S, verify=_trust()))


@functools.cache
def _trust() -> ssl.SSLContext:
    """The certificate authorities; to read them takes longer than a request."""
    return httpx2.create_ssl_context()


def exists(name: str, namespace: str) -> str:
    return f"there is an endpoint {name} of {namespace} already: add --update to change it, or take another name"
