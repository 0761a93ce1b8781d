"""Channel-distillation trackers as pure JAX functions."""

from importlib.metadata import version as _version

__version__ = _version("cdjax")
