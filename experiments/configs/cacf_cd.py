"""CACF-CD: OTB100 success 0.551 at 120 frames/s; TC128 success 0.584 at 144 frames/s [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "CACF-CD",
        paper={
            "otb100": {"success": 0.551, "fps": 120},
            "tc128": {"success": 0.584, "fps": 144},
        },
    )
