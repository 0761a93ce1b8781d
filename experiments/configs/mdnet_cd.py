"""MDNet-CD: OTB100 precision 0.912, success 0.692, 239 of 512 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "MDNet-CD",
        paper={"otb100": {"precision": 0.912, "success": 0.692, "mean_channels": 239}},
    )
