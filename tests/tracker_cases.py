"""Small videos, random weights and compiled programs, shared by the tests of whole trackers."""

import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import cdjax
from cdjax.benchmark._synthetic import synthetic_video
from cdjax.deep_features._extract import _param_shapes
from cdjax.trackers import backbone_of

HW = (96, 128)
NUM_FRAMES = 7
CF2_V = "CF2-V-11+12+21:patch_px=48,grid=12"
DEEPCD_V = "DeepCD-V-11+12+21:patch_px=48,grid=12"
DEEPCD_V32 = f"{DEEPCD_V},num_channels=32"
DEEPCD_S = "DeepCD-S-Fire2:patch_px=64,grid=12,num_channels=16"
ECO_HC = "ECO-HC:sample_px=102,num_slots=4,init_rounds=5,whole=false"
ECO_HC_CD = ECO_HC.replace("HC", "HC-CD")
ECO_CD_S = (
    "ECO-CD-S-Fire2+Fire5:compressed=6x6x4,num_channels=7,sample_px=115,num_slots=4,num_scales=3,"
    "init_rounds=3,max_rounds=2,skip_after=5,whole=false"
)
MDNET = (
    "MDNet:num_boxes=24,first_positives=20,first_negatives=40,first_samples=20,positives=5,"
    "negatives=8,long_frames=4,short_frames=3,long_period=3,init_iters=5,update_iters=3,"
    "batch_positives=8,batch_candidates=16,batch_negatives=12,trans=0.3,chunk=8"
)
MDNET_CD = MDNET.replace("MDNet", "MDNet-CD") + ",num_channels=64"


@functools.cache
def video(seed: int, num_frames: int = NUM_FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """A rendered video and its boxes; every third frame, so that the target moves."""
    frames, boxes = synthetic_video(3 * num_frames, HW, seed)
    return frames[::3], boxes[::3]


@functools.cache
def random_params(network: str | None, deepest: str) -> Any:
    """He-scaled normal weights: activations keep their size from layer to layer."""
    if network is None:
        return {}
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name == "mean":
            return jnp.full(leaf.shape, 115.0, jnp.float32)
        if name == "bias":
            return jnp.asarray(rng.normal(size=leaf.shape), jnp.float32)
        fan_in = np.prod(leaf.shape[:-1])
        return jnp.asarray(rng.normal(size=leaf.shape) * np.sqrt(2 / fan_in), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, _param_shapes(network, deepest))


def jit_as_shipped(fn: Any, **options: Any) -> Any:
    """Jits as users do; tests do it as `conftest.pytest_configure` says."""
    return jax.jit(fn, compiler_options=_as_shipped(), **options)


@functools.cache
def _as_shipped() -> dict[str, Any]:
    """Compiler options that users have; {} where XLA does not know them."""
    options = {
        "xla_cpu_use_fusion_emitters": True,
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
    }
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(jnp.float32(0))
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def jit_to_run_long(fn: Any, **options: Any) -> Any:
    """Jits what runs longer than it compiles: at LLVM's first level, else as tests do."""
    quickly = os.environ.get("CDJAX_AS_SHIPPED") != "1"
    level = {"xla_backend_optimization_level": 1} if quickly else {}
    return jax.jit(fn, compiler_options=level, **options)


class ShippedJax:
    """JAX whose `jit` is `jit_as_shipped`, to put in place of a module's `jax`."""

    def __getattr__(self, name):
        return jit_as_shipped if name == "jit" else getattr(jax, name)


def params_of(name: str) -> Any:
    """Random weights for a tracker."""
    return random_params(cdjax.network_of(name), backbone_of(name)[0].layers[-1])


class Programs(NamedTuple):
    """A tracker, its weights and its jitted functions, compiled when first called."""

    tracker: cdjax.Tracker
    params: Any
    init: Any  # (params, frame, box, frame_hw, key)
    step: Any  # (params, state, frame)
    distil: Any  # the same for the second frame alone, or None
    resume: Any  # (params, state, frames)
    track: Any  # (params, frames, box, frame_hw)
    lanes: Any  # the same of a batch of frames and boxes

    def start(self, frame, box, *, frame_hw=None, key=None):
        """State after the first frame."""
        hw = np.array(frame.shape[:2] if frame_hw is None else frame_hw, np.int32)
        return self.init(self.params, frame, np.asarray(box, np.float32), hw, key)

    def loop(self, frames, box, *, params=None, frame_hw=None, key=None):
        """States and outputs of every frame after the first, one call a frame."""
        state = self.start(frames[0], box, frame_hw=frame_hw, key=key)
        # The smaller program where it will do.
        step = self.distil if self.distil is not None and len(frames) == 2 else self.step
        return step_through(self._replace(step=step), state, frames[1:], params=params)

    def scan(self, frames, box, *, frame_hw=None):
        """Last state and stacked outputs of the frames after the first, by `cdjax.resume`."""
        state = self.start(frames[0], box, frame_hw=frame_hw)
        last, outputs = self.resume(self.params, state, frames[1:])
        return last, jax.tree.map(np.asarray, outputs)


def step_through(programs: Programs, state: Any, frames: Any, *, params: Any = None):
    """States and outputs of frames, one call a frame."""
    states, outputs = [], []
    for frame in frames:
        state, output = programs.step(programs.params if params is None else params, state, frame)
        states.append(state)
        outputs.append(output)
    return states, stack(outputs)


def programs_for(tracker: cdjax.Tracker, params: Any, *, trains: bool = False) -> Programs:
    """Jits a tracker's functions; one that trains a network runs longer than it compiles."""

    def init(params, frame, box, frame_hw, key):
        return tracker.init(params, frame, box, frame_hw=frame_hw, key=key)

    def track(params, frames, box, frame_hw):
        return cdjax.track(tracker, params, frames, box, frame_hw=frame_hw)

    jit = jit_to_run_long if trains else jax.jit
    return Programs(
        tracker,
        params,
        jit(init),
        jit(tracker.step),
        tracker.distil and jit(tracker.distil),
        jit(functools.partial(cdjax.resume, tracker)),
        jit(track),
        jit(jax.vmap(track, in_axes=(None, 0, 0, None))),
    )


@functools.cache
def programs(name: str, **options: Any) -> Programs:
    """The programs of a named tracker; the same ones for every test."""
    tracker = cdjax.make(name, **options)
    return programs_for(tracker, params_of(name), trains=name.startswith("MDNet"))


@functools.cache
def compacted(name: str) -> tuple[Programs, Any, Any]:
    """A tracker cut down after frame 2 of video 1: programs, wide and small state."""
    wide = programs(name)
    frames, boxes = video(1)
    states, _ = wide.loop(frames[:2], boxes[0])
    small, state = wide.tracker.compact(states[0])
    return programs_for(small, wide.params), states[0], state


def tolerance(name: str) -> float:
    """Relative agreement to expect of two programs for one tracker over a few frames.

    HOG's orientation bins are hard: the last bit of a box may move a pixel's vote to the next.
    """
    return 1e-2 if "-H" in name or "CACF" in name or "ECO" in name or name == "compacted" else 1e-3


def stack(trees: list[Any]) -> Any:
    """Stacks trees leaf by leaf."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def at(tree: Any, index: Any) -> Any:
    """Entries of every leaf's first axis."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def gap(a: Any, b: Any) -> float:
    """The largest difference between two trees, against the larger of 1 and each leaf's size."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    largest = 0.0
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        if x.size:
            x, y = x.astype(np.complex128), y.astype(np.complex128)
            difference = np.abs(x - y).max() / max(1.0, np.abs(y).max())
            assert np.isfinite(difference)
            largest = max(largest, float(difference))
    return largest


def same_bits(a: Any, b: Any) -> bool:
    """Whether two trees of arrays are equal bit for bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        jnp.asarray(x).dtype == jnp.asarray(y).dtype
        and np.shape(x) == np.shape(y)
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in pairs
    )


def all_finite(tree: Any) -> bool:
    """Whether every number of a tree is finite."""
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))


def num_bytes(tree: Any) -> int:
    """Bytes of a tree's arrays."""
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))
