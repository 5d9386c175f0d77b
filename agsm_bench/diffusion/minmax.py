"""`official-minmax`: images as the authors' code saves them (torchvision's `save_image(..., normalize=True)`)."""

from __future__ import annotations

from typing import Any

from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor


class MinMaxImages(VaeImageProcessor):  # type: ignore[misc]
    """A pipeline's image processor that stretches each image to its own range, instead of clamping it."""

    def postprocess(self, image: Tensor, output_type: str = "pil", do_denormalize: list[bool] | None = None) -> Any:
        """PIL images of decoded ones [rows, 3, h, w]; anything but "pil" is the stock processor's."""
        if output_type != "pil":
            return super().postprocess(image, output_type, do_denormalize)
        return [to_pixels(stretched(each)) for each in image.float()]


def stretched(image: Tensor) -> Tensor:
    """An image [3, h, w] in [0, 1], whatever its range was: all channels share the least and the largest value."""
    least, largest = image.min(), image.max()
    return (image - least) / (largest - least).clamp(min=1e-5)


def to_pixels(image: Tensor) -> Image.Image:
    """Values in [0, 1] of an image [3, h, w], rounded to 8 bits."""
    return Image.fromarray(image.mul(255).add(0.5).clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy())
