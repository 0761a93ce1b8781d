"""DeepCD-V-11+12+21+54: OTB100 precision 0.906, success 0.652, of 768 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "DeepCD-V-11+12+21+54",
        paper={"otb100": {"precision": 0.906, "success": 0.652}},
    )
