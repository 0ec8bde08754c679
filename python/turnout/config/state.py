"""Where the live state of destinations is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from .model import Count, Model


def _absolute(value: str) -> str:
    # Workers that start in different folders would each have a file of their own, and nobody would notice.
    if not value.startswith("/") or "\0" in value:
        raise ValueError("write the path from the root, such as /dev/shm/turnout-hub")
    return value


class StateConfig(Model):
    """Where the live state of destinations is kept."""

    shared: Annotated[str, Field(min_length=2, max_length=4096), AfterValidator(_absolute)] | None = Field(
        default=None,
        description="A file that the workers of one machine share: in-flight counts, ejections and averages. It is "
        "made, and made anew, by the first of them; it needs Linux and a local file system, best one in memory. "
        "Default: each process has its own state.",
    )
    destinations: Count = Field(
        default=1024, ge=1, le=16_384, description="For how many destinations the shared file is made; 2 kB each."
    )
