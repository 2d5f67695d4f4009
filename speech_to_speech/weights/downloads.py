"""What a backend says of the files that it needs from the Hugging Face hub, so that they can be had before it loads.

A backend's class with weights has

    @classmethod
    def downloads(cls, options: Options) -> tuple[Download, ...]: ...

and its `load` (or `prepare`) gets the same: `(download,) = self.downloads(options)`, then
`fetch(download.name, flag=download.flag)`. Nothing is imported for that but the backend's own module.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Download:
    """Files of one repository."""

    name: str
    """The name on the hub, `organisation/name` or `organisation/name@revision`; or a folder that is there already."""
    flag: str
    """The option that has the name."""
    patterns: tuple[str, ...] = ()
    """Patterns of the files that are needed, as for `fnmatch`. Without any, `hub.files.wanted` chooses the files."""
    by_library: bool = False
    """The backend's library takes the files from the hub by itself, so they are found in the hub's cache only."""
    names: Callable[[Mapping[str, Any], Collection[str]], Sequence["Download"]] | None = None
    """A function of the repository's config.json and of its files' paths, which tells what else is needed."""
