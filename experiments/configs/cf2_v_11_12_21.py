"""CF2-V-11+12+21: OTB100 success 0.483 at 18 frames/s; 256 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "CF2-V-11+12+21",
        paper={"otb100": {"success": 0.483, "fps": 18, "mean_channels": 256}},
    )
