"""MDNet: OTB100 precision 0.909, success 0.678, of 512 channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "MDNet",
        paper={"otb100": {"precision": 0.909, "success": 0.678, "mean_channels": 512}},
    )
