"""CF2-V-34+44+54: OTB100 success 0.562; TC128 success 0.495 at 12 frames/s; 1280 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "CF2-V-34+44+54",
        paper={
            "otb100": {"success": 0.562, "mean_channels": 1280},
            "tc128": {"success": 0.495, "fps": 12},
        },
    )
