"""How a key of the configuration is documented, and the numbers that several tables take."""

from __future__ import annotations

from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


def key(description: str, *, expects: str = "", shape: str = "", example: object = None) -> msgspec.Meta:
    """A field's documentation: what it means, what is expected, the shape of its texts, an example of it."""
    extra = {"expects": expects, "shape": shape, "example": example}
    return msgspec.Meta(description=description, extra=extra)
