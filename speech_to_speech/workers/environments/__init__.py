"""Virtual environments of their own for backends whose libraries can't be installed beside the service's.

Such a backend names a requirements file with pinned versions (`registry.Backend.requirements`); its stem is the
environment's name. `speech-to-speech env create NAME` makes it, and the backend's worker process runs in it.
"""
