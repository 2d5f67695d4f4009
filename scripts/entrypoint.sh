#!/bin/sh
# The container's first process sees to it that PORT can be listened on, and becomes the service, so that SIGTERM
# reaches the service itself. Arguments are flags of `speech-to-speech serve`, but the port is to be given as PORT.
#
# Below 1024 an ordinary user may listen only if the container's runtime says so (Docker does: net.ipv4.
# ip_unprivileged_port_start=0). Else `with-low-ports` is tried, whose file has the right to (CAP_NET_BIND_SERVICE);
# the right counts unless the runtime takes it away (--cap-drop ALL, no-new-privileges).
set -eu

trap 'exit 0' TERM # the first process of a container gets no signal that it has not asked for

# With a read-only root and no tmpfs there is still the shared memory to put temporary files in.
if ! [ -w /tmp ] && [ -w /dev/shm ]; then
    export TMPDIR="${TMPDIR:-/dev/shm}"
fi
# PyTorch makes its cache folder when it is imported, or fails; by default the folder is a temporary one.
if [ -w "$HOME" ]; then
    export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$HOME/torchinductor}"
fi

asked=${S2S_PORT:-${PORT:-}} # the longer name comes first, as in the service's settings
PORT=${asked:-80}
FALLBACK_PORT=8080

# Tells whether "$@" may listen on PORT. The service tells of any other problem with the port.
may_listen() {
    "$@" python -I -c '
import contextlib, socket, sys
with contextlib.suppress(OverflowError, ValueError), socket.socket() as listener:
    try:
        listener.bind(("", int(sys.argv[1])))
    except PermissionError:
        sys.exit(1)
    except OSError:
        pass
' "$PORT" 2>/dev/null
}

low="with-low-ports --inh-caps +net_bind_service --ambient-caps +net_bind_service"
# shellcheck disable=SC2086 # $low is several words
if may_listen env; then
    low=
elif ! may_listen $low; then
    low=
    advice="--sysctl net.ipv4.ip_unprivileged_port_start=0, or without --cap-drop ALL and no-new-privileges"
    if [ -n "$asked" ]; then
        echo "entrypoint: this container may not listen on PORT $PORT; choose 1024 or above, or run it with $advice" >&2
        exit 2
    fi
    echo "entrypoint: this container may not listen on port $PORT, so the service is on port $FALLBACK_PORT; for $PORT run it with $advice" >&2
    PORT=$FALLBACK_PORT
fi
export PORT
# A SIGTERM that comes too early waits until the service is ready for it.
# shellcheck disable=SC2086
exec env --block-signal=TERM $low speech-to-speech serve "$@"
