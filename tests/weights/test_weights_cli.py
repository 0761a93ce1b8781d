import argparse

import numpy as np
import pytest
from weight_files import zip_pth

from cdjax._errors import InputError
from cdjax.cli._weights import add_parser


def run(*words):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["weights", *map(str, words)])
    return args.run(args)


def test_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CDJAX_WEIGHTS", str(tmp_path / "store"))
    assert run("list") == 0
    assert "no weights" in capsys.readouterr().out
    assert run("check") == 0
    assert "no weights" in capsys.readouterr().out
    state = {
        "features.0.weight": np.ones((64, 3, 3, 3), np.float32),
        "features.0.bias": np.ones(64, np.float32),
    }
    source = zip_pth(tmp_path / "small.pth", state)
    assert run("convert", source, "--network", "vgg19", "--name", "mine") == 0
    assert str(tmp_path / "store" / "mine") in capsys.readouterr().out
    assert run("list") == 0
    out = capsys.readouterr().out
    assert "mine: vgg19 to conv1_1, from small.pth, licence unknown" in out
    assert run("check") == run("check", "mine") == 0
    assert capsys.readouterr().out == "mine: ok\n" * 2
    (tmp_path / "store" / "mine" / "manifest.json").write_text("{")
    for words in (["check"], ["check", "mine"]):
        with pytest.raises(InputError, match="1 of 1 weights failed.*unreadable manifest"):
            run(*words)
        assert "mine: " in capsys.readouterr().out
    # Without its manifest the folder must not pass as whatever else is of that name.
    (tmp_path / "store" / "mine").rename(tmp_path / "store" / "vgg19")
    (tmp_path / "store" / "vgg19" / "manifest.json").unlink()
    assert run("convert", source, "--name", "whole") == 0
    capsys.readouterr()
    for words in (["check"], ["check", "whole", "vgg19"]):
        with pytest.raises(InputError, match="1 of 2 weights failed.*vgg19/manifest.json"):
            run(*words)
        assert "whole: ok" in capsys.readouterr().out
    assert run("fetch") == 0
    assert "vgg19-dcbb9e9d.pth" in capsys.readouterr().out
    with pytest.raises(InputError):
        run("convert", tmp_path / "missing.pth")
    with pytest.raises(InputError):
        run("fetch", "missing")
