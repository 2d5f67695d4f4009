"""The endpoint that is asked for, and how huggingface_hub wants to be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEALTH_ROUTE = "/health"
TYPES = {
    "private": "you, or the members of the organization, with a Hugging Face token",
    "authenticated": "any Hugging Face account, with its token",
    "public": "everybody; the service's own token is all that protects it",
}


@dataclass(frozen=True)
class Request:
    """An endpoint as it is to be: checked as far as that goes without the platform."""

    name: str
    namespace: str | None
    """The account that owns the endpoint; None means the token's own account."""
    image: str
    port: int
    profile: str
    repository: str
    type: str
    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str
    min_replica: int
    max_replica: int
    scale_to_zero_min: int | None
    """The minutes without a request after which no replica is left; None means never."""
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    registry_user: str | None
    registry_password: str | None = field(repr=False)
    given: frozenset[str] = frozenset()
    """The flags that were on the command line: those that have their defaults are not among them."""

    @property
    def hardware(self) -> str:
        return f"{self.vendor} {self.region} {self.instance_type} {self.instance_size}"

    def _common(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "framework": "custom",
            "task": "custom",
            "accelerator": self.accelerator,
            "instance_type": self.instance_type,
            "instance_size": self.instance_size,
            "min_replica": self.min_replica,
            "max_replica": self.max_replica,
            "scale_to_zero_timeout": self.scale_to_zero_min,
            "env": dict(self.env),
            "secrets": dict(self.secrets),
        }

    def to_create(self) -> dict[str, Any]:
        """Arguments of `HfApi.create_inference_endpoint`."""
        return self._common() | {
            "custom_image": self._image(),
            "vendor": self.vendor,
            "region": self.region,
            "type": self.type,
            "container_registry_username": self.registry_user,
            "container_registry_password": self.registry_password,
        }

    def to_update(self) -> dict[str, Any]:
        """Arguments of `HfApi.update_inference_endpoint`, which takes credentials only within the image."""
        image = self._image()
        if self.registry_user is not None:
            image["credentials"] = {"username": self.registry_user, "password": self.registry_password}
        return self._common() | {"custom_image": image}

    def _image(self) -> dict[str, Any]:
        return {"url": self.image, "healthRoute": HEALTH_ROUTE, "port": self.port}
