"""Five trackers for the few public sequences: distilled, the same with all channels, baselines.

The paper gives no figures for so few sequences.
"""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "DeepCD-V-11+12+21",
        "DeepCD-V-11+12+21:select=all",
        "CF2-V-11+12+21",
        "DeepCD-H",
        "CF2-H",
        dataset="otb",
    )
