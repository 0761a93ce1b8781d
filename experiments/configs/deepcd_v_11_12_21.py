"""DeepCD-V-11+12+21: OTB100 precision 0.851, success 0.619, 30 frames/s, 100.4 channels [1].

TC128 success 0.536 at 34 frames/s, 191 channels; VOT2017 192 channels. By layer on OTB100:
28.4 of conv1_1, 27.7 of conv1_2, 44.3 of conv2_1.
"""

from ml_collections import ConfigDict

from experiments.configs._base import experiment


def get_config() -> ConfigDict:
    """Returns the config."""
    return experiment(
        "DeepCD-V-11+12+21",
        paper={
            "otb100": {
                "precision": 0.851,
                "success": 0.619,
                "fps": 30,
                "mean_channels": 100.4,
                "channels_by_layer": {"conv1_1": 28.4, "conv1_2": 27.7, "conv2_1": 44.3},
            },
            "tc128": {"success": 0.536, "fps": 34, "mean_channels": 191},
            "vot2017": {"mean_channels": 192},
        },
    )
