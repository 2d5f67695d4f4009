"""What scripts/create_endpoint.py is made of: its command line, the request, the platform, and what is said."""

import sys

try:
    from huggingface_hub import HfApi

    NEW_ENOUGH = hasattr(HfApi, "list_inference_endpoints_hardware")
except ImportError:
    NEW_ENOUGH = False
if not NEW_ENOUGH:  # the service itself runs with an older one
    print("create_endpoint: huggingface_hub 2.4 or newer is needed: pip install -U huggingface_hub", file=sys.stderr)
    raise SystemExit(2)
