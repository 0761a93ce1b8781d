"""DeepCD-V-11: OTB100 precision 0.757 at 58 frames/s, of 64 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "DeepCD-V-11",
        paper={"otb100": {"precision": 0.757, "fps": 58}},
    )
