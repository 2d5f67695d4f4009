"""Exit code 0 if the service in this container says that it is ready: what the image's HEALTHCHECK runs."""

import http.client
import os
import sys

ASKED = os.environ.get("S2S_PORT") or os.environ.get("PORT")
PORTS = (ASKED,) if ASKED else ("80", "8080")  # entrypoint.sh chooses one of these if nobody sets a port


def healthy(port: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=3)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not any(healthy(port) for port in PORTS))
