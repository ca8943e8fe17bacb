"""What decoding JSON may raise when it was written by somebody else, or torn by a power loss.

msgspec has an error of its own for what is no JSON and for what has another shape than was asked for; octets that are
no UTF-8 inside of a string and nesting without end come out as Python's own.
"""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
