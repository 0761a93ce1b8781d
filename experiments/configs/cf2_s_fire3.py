"""CF2-S-Fire3: OTB100 precision 0.108 and success 0.083 below CF2-V-54; 128 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "CF2-S-Fire3",
        paper={
            "otb100": {
                "mean_channels": 128,
                "below": "CF2-V-54",
                "precision_below": 0.108,
                "success_below": 0.083,
            }
        },
    )
