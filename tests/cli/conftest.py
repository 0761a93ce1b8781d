"""Scenes on disk, and the fake tracker of tests/benchmark behind the public names."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

import cdjax
import cdjax.deep_features
from cdjax._errors import InputError

_FAKE = Path(__file__).parents[1] / "benchmark" / "fake_tracker.py"


@pytest.fixture(scope="session")
def make_fake():
    return runpy.run_path(str(_FAKE))["make_tracker"]


@pytest.fixture
def fake_api(monkeypatch, make_fake):
    """`make` and its kin, without networks: deep names need the weights "moves"."""

    def make(name):
        if name not in ("DeepCD-H", "DeepCD-V-11+12+21"):
            raise InputError(f"unknown tracker {name!r}: nearest is DeepCD-H")
        base = make_fake(8, 4)

        def step(params, state, frame):
            return base.step(params or {"gain": np.float32(1)}, state, frame)

        return base._replace(step=step, compact=None)

    def network_of(name):
        return None if name == "DeepCD-H" else "vgg19"

    def load_params(name_or_path):
        gains = {"moves": 1.0, "nan": np.nan}
        if name_or_path not in gains:
            raise InputError(f"no weights {name_or_path!r}; run cdjax weights fetch")
        return {"gain": np.float32(gains[name_or_path])}

    monkeypatch.setattr(cdjax, "make", make)
    monkeypatch.setattr(cdjax, "network_of", network_of)
    monkeypatch.setattr(cdjax, "load_params", load_params, raising=False)
    monkeypatch.setattr(cdjax.deep_features, "check_params", lambda backbone, params: None)


def texture(hw=(48, 64)):
    """A picture whose first pixel moves the fake tracker by one pixel."""
    picture = np.random.default_rng(0).integers(0, 255, (*hw, 3)).astype(np.uint8)
    picture[:2, :2] = 1
    return picture


def write_images(folder, count=6, *, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(1, count + 1):
        cv2.imwrite(str(folder / f"{i:04d}{suffix}"), texture())
    return folder


@pytest.fixture
def images(tmp_path):
    """A folder of six numbered images."""
    return write_images(tmp_path / "images")


@pytest.fixture
def otb(tmp_path):
    """An OTB root: A, and Two with two targets; targets move a pixel a frame."""
    for name, files in (("A", ("",)), ("Two", (".1", ".2"))):
        write_images(tmp_path / "otb" / name / "img")
        for row, number in enumerate(files):
            rows = "".join(f"{6 + i},{7 + 20 * row},10,12\n" for i in range(6))
            truth = tmp_path / "otb" / name / f"groundtruth_rect{number}.txt"
            truth.write_text(rows)
    return tmp_path / "otb"


@pytest.fixture
def video(tmp_path):
    """An MJPEG video of 20 frames."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(20):
        writer.write(texture())
    writer.release()
    return path
