"""DeepCD-V-54: no figures stated; of 512 channels, what DeepCD-S-All is compared with [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment("DeepCD-V-54")
