"""Whether the platform has the hardware that is asked for, and the account the quota, before anything is made."""

import difflib
from collections.abc import Iterable, Sequence

from huggingface_hub import InferenceEndpointHardware

from endpoint.errors import BadInput
from endpoint.problems import CONSOLE
from endpoint.request import Request

UNUSABLE = ("deprecated", "not_available")
FEW = 12  # names that a message lists


def check_hardware(listing: Sequence[InferenceEndpointHardware], request: Request, existing: bool) -> float:
    """The price of a replica in USD an hour.

    The quota of an endpoint that exists counts its own replicas, so it is left to the platform.

    Raises:
        BadInput: there is no such hardware, it can't be had now, or the quota is used up.
    """
    left = list(listing)
    for flag in ("vendor", "region", "accelerator", "instance_type", "instance_size"):
        value = getattr(request, flag)
        matching = [hardware for hardware in left if getattr(hardware, flag) == value]
        if not matching:
            there_are = _some(getattr(hardware, flag) for hardware in left)
            close = difflib.get_close_matches(value, there_are, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            where = " ".join(getattr(request, earlier) for earlier in _before(flag)) or "the platform"
            raise BadInput(
                f"--{flag.replace('_', '-')}: {where} has no {value!r}{hint}; there are {_listed(there_are)}"
            )
        left = matching
    hardware = left[0]
    if hardware.status in UNUSABLE:
        others = _some(
            f"{other.region} {other.instance_type} {other.instance_size}"
            for other in listing
            if other.status not in UNUSABLE
            and (other.vendor, other.accelerator) == (request.vendor, request.accelerator)
        )
        raise BadInput(
            f"{request.hardware} is {hardware.status.replace('_', ' ')} now; available of {request.vendor}: "
            f"{_listed(others)}"
        )
    needed = hardware.num_accelerators * max(1, request.min_replica)
    free = hardware.max_accelerators - hardware.used_accelerators
    if not existing and free < needed:
        raise BadInput(
            f"the quota for {hardware.instance_type} is used up ({hardware.used_accelerators} of "
            f"{hardware.max_accelerators}, {needed} needed): pause or delete another endpoint, take another "
            f"--instance-type or --region, or ask for more at {CONSOLE}"
        )
    return hardware.price_per_hour


def _before(flag: str) -> tuple[str, ...]:
    return {
        "vendor": (),
        "region": ("vendor",),
        "accelerator": ("vendor", "region"),
        "instance_type": ("vendor", "region", "accelerator"),
        "instance_size": ("vendor", "region", "instance_type"),
    }[flag]


def _some(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return (", ".join(names[:FEW]) or "none") + more
