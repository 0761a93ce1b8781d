"""CACF: OTB100 success 0.511; TC128 success 0.509 at 116 frames/s [1]."""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "CACF",
        paper={
            "otb100": {"success": 0.511},
            "tc128": {"success": 0.509, "fps": 116},
        },
    )
