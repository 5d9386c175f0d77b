"""PNG bytes to pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

UNREADABLE = (UnidentifiedImageError, OSError, ValueError)
"""What `decode` raises for bytes that are no picture."""


def decode(png: bytes) -> np.ndarray:
    """uint8 [height, width, 3]."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))
