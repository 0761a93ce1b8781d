"""ECO: OTB100 precision 0.910, success 0.691 at 8 frames/s, of 80 deep channels [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "ECO",
        paper={
            "otb100": {"precision": 0.910, "success": 0.691, "fps": 8, "mean_channels": 80},
        },
    )
