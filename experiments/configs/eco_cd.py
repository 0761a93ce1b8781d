"""ECO-CD: OTB100 precision 0.915, success 0.692 at 11 frames/s, 55 of 80 deep channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "ECO-CD",
        paper={
            "otb100": {"precision": 0.915, "success": 0.692, "fps": 11, "mean_channels": 55},
        },
    )
