"""Ctrl-C and SIGTERM: between two frames, never lost, and what there is stays."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cdjax.benchmark import read_boxes
from cdjax.cli import _interrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def handled():
    # A shell's background job ignores SIGINT, as its children do: only defaults are replaced.
    found = [signal.getsignal(number) for number in SIGNALS]
    before = [signal.default_int_handler, signal.SIG_DFL]
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
    with _interrupt.handled():
        yield
    assert [signal.getsignal(number) for number in SIGNALS] == before
    for number, handler in zip(SIGNALS, found, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_end_of_a_frame(number):
    seen = []

    def work():
        for item in _interrupt.between(range(5)):
            if item == 2:
                os.kill(os.getpid(), number)
            seen.append(item)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == [0, 1, 2]


@pytest.mark.usefixtures("handled")
def test_a_second_signal_does_not_wait():
    items = _interrupt.between(range(5))
    next(items)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("handled")
def test_a_signal_that_a_callback_dropped_counts_in_the_next_loop():
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        next(_interrupt.between(range(5)))


def test_an_interrupted_process_completes_its_files(images, tmp_path):
    for index in range(7, 5000):
        (images / f"{index:04d}.png").symlink_to(images / "0001.png")
    boxes, summary = tmp_path / "b.txt", tmp_path / "s.json"
    words = ["track", images, "--box", "5,6,20,20", "--tracker", "CF2-H"]
    words = [*map(str, [*words, "--boxes", boxes, "--json", summary])]
    # A background job's children ignore SIGINT; this one must not.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"from cdjax.cli import main; sys.exit(main({words}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not boxes.exists() or boxes.stat().st_size < 1000:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "cdjax: interrupted\n"
    content = json.loads(summary.read_text())
    assert content["error"] == "interrupted"
    assert len(content["boxes"]) == len(read_boxes(boxes)) < 4999
