"""What the configs share."""

from typing import Any

from ml_collections import ConfigDict, config_dict


def experiment(*trackers: str, paper: dict[str, Any] | None = None, **settings: Any) -> ConfigDict:
    """Makes the config of an experiment.

    Args:
      *trackers: names in the grammar of `cdjax.make`, options included.
      paper: published figures of the first tracker: by dataset, "precision" (at 20 px), "success"
        (AUC), "fps" and "mean_channels"; only what the paper states.
      **settings: what differs from the defaults below.

    Returns:
      The config.
    """
    return ConfigDict(
        {
            "trackers": trackers,
            "dataset": "otb100",
            "protocol": "ope",
            "max_frames": config_dict.placeholder(int),
            "seeds": (0,),
            "paper": paper or {},
            **settings,
        }
    )
