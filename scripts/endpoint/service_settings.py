"""Whether the service would start with the environment that the endpoint gives it, asked of the service's own code."""

from collections.abc import Mapping

from endpoint.errors import BadInput
from speech_to_speech.client.address import is_loopback
from speech_to_speech.config.profiles import PROFILES, defaults
from speech_to_speech.config.registry import STAGES, TURN, all_installed
from speech_to_speech.config.settings import ENV_PREFIX, NAMES, TOKEN_VARIABLE, load_settings
from speech_to_speech.errors import SettingsError

IMAGE_PORT = 80  # the service listens here in its container unless PORT says otherwise
MODELS = f"{ENV_PREFIX}MODELS"
# The values of these settings are backends, which a module of the container's own may define.
OF_BACKENDS = {f"{ENV_PREFIX}{name.upper()}" for name in ("profile", "models", *STAGES, TURN)}
PLAIN = ("PORT", "HOST", "CHAT_SIZE")


def check_profile(profile: str, accelerator: str, env: Mapping[str, str]) -> None:
    """Refuse an unknown profile, and one that needs a GPU where there is none.

    Raises:
        BadInput: one line that says what to choose.
    """
    if profile not in PROFILES:
        raise BadInput(f"--profile: unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    # None of the profiles' devices depends on the language.
    devices = {
        name: env.get(f"{ENV_PREFIX}{name.upper()}", str(value))
        for name, value in defaults(profile, "en").items()
        if name.endswith("_device")
    }
    on_gpu = [name for name, device in devices.items() if device.startswith("cuda")]
    if on_gpu and accelerator != "gpu":
        raise BadInput(
            f"--profile {profile} needs a GPU ({', '.join(on_gpu)}), which --accelerator {accelerator} has not; "
            "take --accelerator gpu, or --profile cpu"
        )


def check_address(port: int, env: Mapping[str, str]) -> None:
    """Refuse an address on which the platform would not find the service.

    Raises:
        BadInput: one line that names the variable.
    """
    variable = "S2S_PORT" if "S2S_PORT" in env else "PORT"
    listening = env.get(variable, str(IMAGE_PORT))
    if listening != str(port):
        raise BadInput(
            f"--port {port} and {variable}={listening} do not match: the service would listen on one and the platform "
            f"ask the other; give --port {listening} or leave {variable} out"
        )
    host = env.get("S2S_HOST", env.get("HOST", ""))
    if is_loopback(host):
        raise BadInput(f"HOST={host}: the platform could not reach the service; leave it out")


def check_settings(profile: str, environ: Mapping[str, str]) -> str | None:
    """Refuse variables with which the service would not start.

    Returns:
        A remark about what could not be checked, None if all was.

    Raises:
        BadInput: the service's own message.
    """
    remark = None
    if MODELS in environ:
        own = {f"{ENV_PREFIX}{name.upper()}" for name in NAMES} - OF_BACKENDS | {TOKEN_VARIABLE, *PLAIN}
        environ = {name: value for name, value in environ.items() if name in own}
        profile = "loadtest"  # the backends of this profile need no options
        remark = f"{MODELS} names modules of the container's own, so options of models are not checked before it starts"
    try:
        with all_installed():  # the settings are for the container, which has what they need
            load_settings([], {"PROFILE": profile, **environ})
    except SettingsError as error:
        reason = str(error).partition("; there are --")[0]  # the rest of the message is a list of a hundred names
        raise BadInput(
            f"the service would not start with this --env and --secret: {reason} "
            f"(`speech-to-speech serve --help --profile {profile}` lists the settings; S2S_<NAME> is a variable's name)"
        ) from None
    return remark
