"""Frame to patch."""

from cdjax.crop._sample import as_rgb as as_rgb
from cdjax.crop._sample import crop_patch as crop_patch
from cdjax.crop._sample import scale_pyramid as scale_pyramid

__all__ = ["as_rgb", "crop_patch", "scale_pyramid"]
