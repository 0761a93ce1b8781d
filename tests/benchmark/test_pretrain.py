"""experiments/pretrain_mdnet.py: what a visit takes, and training that can be killed."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from cdjax import InputError, weights
from cdjax.benchmark._synthetic import synthetic_video

SCRIPT = Path(__file__).parents[2] / "experiments" / "pretrain_mdnet.py"
SMALL = {"frames": 3, "positives": 6, "negatives": 9, "cycles": 4, "save_every": 1, "rate": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two small videos in data, of different size and length."""
    root = tmp_path_factory.mktemp("pretrain")
    for name, seed, count in (("A", 1, 5), ("B", 2, 4)):
        frames, boxes = synthetic_video(count, (48, 56 + 8 * seed), seed)
        (root / "data" / name / "img").mkdir(parents=True)
        for i, frame in enumerate(frames, start=1):
            cv2.imwrite(str(root / "data" / name / "img" / f"{i:04d}.png"), frame[..., ::-1])
        boxes = boxes + [1, 1, 0, 0]
        if name == "B":
            boxes[1] = 0  # a frame without a box
        np.savetxt(root / "data" / name / "groundtruth_rect.txt", boxes, fmt="%.2f")
    return root


@pytest.fixture(scope="module")
def script(load_script):
    """The script as a module, its flags defined once."""
    module = load_script(SCRIPT)
    flags.FLAGS.mark_as_parsed()
    return module


def gap(a, b):
    """The largest difference of two trees."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


def given(folder, **more):
    """The flags of a small training."""
    values = {"root": str(folder / "data"), "workdir": str(folder / "work")} | SMALL | more
    return flagsaver.flagsaver(**values)


def test_a_cycle_visits_each_video_once_and_frames_take_turns(folder, script):
    with given(folder, cycles=10):
        videos = script.read_videos()
        assert [len(video.paths) for video in videos] == [5, 3]
        visits = [int(batch.domain) for batch in script.batches(videos, 0, (48, 80))]
        assert sorted(visits[:2]) == sorted(visits[2:4]) == [0, 1]
        # Not always in the same order.
        assert len({tuple(visits[i : i + 2]) for i in range(0, 20, 2)}) == 2
        seen = [frame for cycle in range(5) for frame in script.frames_of(videos[0], 0, cycle)]
        assert len(seen) == 15
        # Every frame once before any comes again.
        assert all(sorted(seen[i : i + 5]) == [0, 1, 2, 3, 4] for i in (0, 5, 10))
        # What a later start is given does not depend on what was before it.
        late = next(iter(script.batches(videos, 7, (48, 80))))
        whole = list(script.batches(videos, 0, (48, 80)))[7]
        assert all(np.array_equal(a, b) for a, b in zip(late, whole, strict=True))


@pytest.mark.parametrize("visits", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_visits_lower_the_loss_and_leave_other_videos_alone(folder, script, visits):
    with given(folder, rate=3e-3, head_factor=1.0):
        backbone = script.Backbone(network="mdnet", layers=("conv3",))
        visit, optimiser = script.make_visit(backbone)
        training = script.start_training(backbone, optimiser, 2, jax.random.key(0))
        before = jax.device_get(training)
        batch = next(iter(script.batches(script.read_videos(), 0, (48, 80))))
        losses = []
        for _ in range(visits):
            training, loss, right = visit(training, jax.random.key(0), batch)
            losses.append(float(loss))
    assert np.isfinite(losses).all()
    if visits > 1:
        assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
        assert right > 0.5
    other = 1 - int(batch.domain)
    for old, new in zip(
        jax.tree.leaves((before.domains, before.domain_momentum)),
        jax.tree.leaves((training.domains, training.domain_momentum)),
        strict=True,
    ):
        np.testing.assert_array_equal(old[other], new[other])
        assert np.abs(old[batch.domain] - new[batch.domain]).max() > 0
    # Without a rate of their own the fully connected layers stay; convolutions do not.
    with given(folder, head_factor=0.0):
        visit, _ = script.make_visit(backbone)
        start = jax.device_get(training)
        training, *_ = visit(training, jax.random.key(0), batch)
    changed = {name for name in start.shared if gap(start.shared[name], training.shared[name]) > 0}
    assert changed == {"conv1", "conv2", "conv3"}
    for name, layer in before.shared.items():
        moved = [
            np.abs(old - new).max()
            for old, new in zip(
                jax.tree.leaves(layer), jax.tree.leaves(training.shared[name]), strict=True
            )
        ]
        assert (max(moved) == 0) == (name == "mean")


def test_nothing_to_train_on(folder, script):
    with given(folder, exclude=["A", "B"]), pytest.raises(InputError, match="no video is left"):
        script.read_videos()
    with given(folder, sequences=["C"]), pytest.raises(InputError, match="no sequence 'C'"):
        script.read_videos()


def test_a_workdir_holds_one_training(folder, script, tmp_path):
    with given(folder):
        videos = script.read_videos()
        script.Checkpoints(tmp_path, videos)
        script.Checkpoints(tmp_path, videos)
        moved = [videos[0]._replace(boxes=videos[0].boxes + 1), videos[1]]
        for others in (videos[:1], moved):
            with pytest.raises(InputError, match="begun with videos"):
                script.Checkpoints(tmp_path, others)
    with given(folder, seed=1), pytest.raises(InputError, match=r"seed=0, not 1: use another"):
        script.Checkpoints(tmp_path, videos)


def test_refused_before_any_work(folder, script, tmp_path):
    work = {"workdir": str(tmp_path / "work")}
    with given(folder, name="vgg19", **work), pytest.raises(InputError, match="cannot be called"):
        script.pretrain()
    with given(folder, start="vgg_n", **work), pytest.raises(InputError, match="no weights"):
        script.pretrain()
    assert not (tmp_path / "work").exists()


def test_a_checkpoint_without_its_losses(folder, script, tmp_path):
    with given(folder):
        backbone = script.Backbone(network="mdnet", layers=("conv3",))
        _, optimiser = script.make_visit(backbone)
        training = script.start_training(backbone, optimiser, 2, jax.random.key(0))
        checkpoints = script.Checkpoints(tmp_path, script.read_videos())
        bad = training._replace(domains=jax.tree.map(lambda x: x * np.nan, training.domains))
        with pytest.raises(InputError, match="not finite: use a smaller --rate than 0.001"):
            checkpoints.save(bad, [])
        checkpoints.save(training._replace(visit=training.visit + 1), [[1, 0, 0.5, 1.0]])
        _, losses = checkpoints.restore(training)
        assert losses == [[1, 0, 0.5, 1.0]]
        (tmp_path / "losses.csv").unlink()
        with pytest.raises(InputError, match="losses.csv.*restore it"):
            checkpoints.restore(training)


@pytest.mark.slow
def test_a_killed_training_ends_as_the_whole(folder):
    def train(workdir, name, cycles):
        options = SMALL | {"cycles": cycles, "root": folder / "data", "name": name}
        command = [sys.executable, str(SCRIPT), f"--workdir={folder / workdir}"]
        command += [f"--{key}={value}" for key, value in options.items()]
        environment = {**os.environ, "CDJAX_WEIGHTS": str(folder / "weights")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    train("whole", "whole", 4)
    train("parts", "parts", 2)
    told = train("parts", "parts", 4)
    assert "cycle 2" not in told
    assert "cycle 3" in told
    files = [(folder / work / "losses.csv").read_text() for work in ("whole", "parts")]
    assert files[0] == files[1]
    assert len(files[0].splitlines()) == 9
    assert (folder / "parts" / "losses.png").stat().st_size > 1000
    whole, parts = (
        weights.load_params(name, directory=folder / "weights") for name in ("whole", "parts")
    )
    assert sorted(whole) == ["conv1", "conv2", "conv3", "fc4", "fc5", "mean"]
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b)


def test_visits_draw_anew(folder, script):
    with given(folder):
        batch = next(iter(script.batches(script.read_videos(), 0, (48, 80))))
        keys = [jax.random.fold_in(jax.random.key(0), visit) for visit in range(2)]
        drawn = [jax.jit(script.draw_patches)(key, batch) for key in keys]
    for patches, valid in drawn:
        assert patches.shape == (15, 107, 107, 3)
        assert np.asarray(valid).all()
    assert gap(drawn[0][0], drawn[1][0]) > 10
