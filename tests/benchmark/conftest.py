"""A tiny dataset on disk for the fake tracker."""

import importlib.util

import cv2
import numpy as np
import pytest
from absl import flags


@pytest.fixture
def dataset(tmp_path):
    """A folder with data/A and data/B of six frames, whose target moves a pixel a frame."""
    write_sequences(tmp_path / "data", ("A", "B"), 6)
    return tmp_path


def write_sequences(root, names, num_frames):
    """Writes OTB sequences that the fake tracker follows exactly."""
    frame = np.ones((48, 64, 3), np.uint8)
    for name in names:
        (root / name / "img").mkdir(parents=True)
        for i in range(1, num_frames + 1):
            cv2.imwrite(str(root / name / "img" / f"{i:04d}.png"), frame)
        rows = "".join(f"{5 + i},6\t10 12\n" for i in range(num_frames))
        (root / name / "groundtruth_rect.txt").write_text(rows)


@pytest.fixture
def write_otb():
    """`write_sequences`."""
    return write_sequences


@pytest.fixture(scope="module")
def load_script():
    """Loads a script as a module; its flags, whose names scripts share, go with the tests."""
    before = set(flags.FLAGS)

    def load(path):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
