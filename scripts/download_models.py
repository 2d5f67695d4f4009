"""Download the models of a profile before the service starts: into the cache, or into a folder to be mounted.

    python scripts/download_models.py --profile l4 --language auto --dry-run
    python scripts/download_models.py --profile l4 --language auto --folder /data/models

The settings are those of `speech-to-speech serve`, from flags and environment variables. Sizes are said before
anything is downloaded; what was stopped goes on where it was. See docs/backends.md.
"""

import sys
from pathlib import Path

# In the container image the package lies beside this folder and is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from speech_to_speech.commands.download import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
