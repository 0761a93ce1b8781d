"""DeepCD-S-All: OTB100 precision 0.020 above, success 0.029 below DeepCD-V-54; 123 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "DeepCD-S-All",
        paper={
            "otb100": {
                "mean_channels": 123,
                "below": "DeepCD-V-54",
                "precision_below": -0.020,
                "success_below": 0.029,
            }
        },
    )
