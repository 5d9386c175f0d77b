"""Resizing as OpenCV does, against what it gave."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from agsm_bench.opencv_resize import resize

# OpenCV 5.0.0 gave these, with cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
RESIZED = {
    (2, 3): [[56, 152, 91], [157, 159, 161]],
    (3, 9): [
        [0, 18, 68, 117, 167, 216, 168, 105, 82],
        [193, 170, 107, 59, 109, 158, 110, 47, 24],
        [135, 153, 203, 238, 176, 114, 149, 199, 217],
    ],
}
DIGESTS = {
    (1272, 800): "11441826711aea28",
    (40, 25): "c60943e55ba0c72a",
    (97, 61): "c45a73ca305812ce",
    (800, 33): "797a9cbab6f09ad7",
}


def test_resizing_is_opencvs_to_the_bit() -> None:
    image = (np.arange(36).reshape(3, 4, 3) * 37 % 251).astype(np.uint8)
    for (height, width), expected in RESIZED.items():
        assert resize(image, height, width)[..., 0].tolist() == expected
    image = (np.arange(97 * 61 * 3) ** 2 % 253).astype(np.uint8).reshape(97, 61, 3)
    for (height, width), digest in DIGESTS.items():
        assert sha256(resize(image, height, width).tobytes()).hexdigest().startswith(digest)
    for (height, width), digest in {(1, 7): "5caf4818343c62cd", (1, 1): "232d3bb0b7b83994"}.items():
        image = (np.arange(height * width * 3) * 91 % 253).astype(np.uint8).reshape(height, width, 3)
        assert sha256(resize(image, 40, 50).tobytes()).hexdigest().startswith(digest)
