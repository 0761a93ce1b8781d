"""CF2-V-54: no figures stated; 512 channels, what CF2-S-Fire3 is compared with [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "CF2-V-54",
        paper={"otb100": {"mean_channels": 512}},
    )
