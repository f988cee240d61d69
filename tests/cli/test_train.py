"""``funcnet train``: every network and option on small data, what is refused, and going on."""

import re
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from runs import timeless

from funcnet.cli import main
from funcnet.cli import runs as cli_runs
from funcnet.cli import train as command
from funcnet.data.dataset import Dataset, Split
from funcnet.model_file import load_model
from funcnet.run_file import read_run


def images(side: int = 32, channels: tuple[int, ...] = (3,), *, labels: Any = np.int64) -> Dataset:
    """Two classes of bright and dark images."""
    draws = np.random.default_rng(0)
    y = draws.integers(0, 2, 24)
    shape = (24, side, side, *channels)
    x = (draws.integers(0, 60, shape) + 120 * y.reshape(-1, *(1 for _ in shape[1:]))).astype(np.uint8)
    split = Split(x, y.astype(labels))
    return Dataset("small", split, split.take(np.arange(10)), ("dark", "bright"))


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data under every name, and no report but where it is asked for."""
    monkeypatch.setattr(command, "load", lambda name, folder: images())
    monkeypatch.setattr(cli_runs, "write_pages", lambda runs, out, title: None)


def trained(out: Path, *options: str) -> Any:
    """The record of a run with these options."""
    assert main(["train", "glyphs", "--epochs", "2", "--batch", "8", "--out", str(out), *options]) == 0
    return read_run(out / "run-small.json")


@pytest.mark.parametrize("network", ["mlp", "lenet", "resnet-20", "speednet"])
def test_networks(network: str, tmp_path: Path) -> None:
    run = trained(tmp_path, "--network", network, "--epochs", "1")
    assert dict(run.settings)["network"] == network
    assert run.epochs == run.planned_epochs == 1
    model = load_model(tmp_path / "model-small.safetensors")
    assert model.predict(images().test.x[:3]).shape == (3, 2)


@pytest.mark.parametrize("optimizer", list(command._OPTIMIZERS))
def test_optimizers(optimizer: str, tmp_path: Path) -> None:
    run = trained(tmp_path, "--optimizer", optimizer)
    assert optimizer in dict(run.settings)["optimizer"]
    assert all(np.isfinite(epoch.train.loss) for epoch in run.history)


def test_augmentations_in_their_order(tmp_path: Path) -> None:
    run = trained(tmp_path, "--augment", ",".join(command._AUGMENTATIONS), "--network", "lenet")
    named = dict(run.settings)["augmentation"]
    places = [named.index(word) for word in ("flip", "shift(4)", "cutout(8)", "rotate", "mixup", "cutmix")]
    assert places == sorted(places)


def test_the_command_in_the_record_makes_the_run_again(tmp_path: Path) -> None:
    first = trained(tmp_path / "a", "--network", "lenet", "--rate", "0.01", "--seed", "7", "--augment", "flip")
    assert first.command.startswith("funcnet train glyphs ")
    assert main([*first.command.split()[1:], "--out", str(tmp_path / "b")]) == 0
    assert timeless(read_run(tmp_path / "b" / "run-small.json")) == timeless(first)


def test_minutes_fix_the_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "glyphs", "--minutes", "0.001", "--out", str(tmp_path)]) == 0
    run = read_run(tmp_path / "run-small.json")
    said = re.search(r"A step takes \d+ ms: (\d+) epochs? in 0.001 minutes", capsys.readouterr().out)
    assert said is not None
    assert run.epochs == run.planned_epochs == int(said[1]) >= 1
    assert dict(run.settings)["limit"] == f"0.001 minutes: {run.epochs} epochs, by timed steps"


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--network", "lenet", "--augment", "flip,shift"]
    whole = trained(tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        checkpointed = cli_runs.checkpointed

        def stopped(*arguments: Any, **options: Any) -> Any:
            yield next(checkpointed(*arguments, **options))
            raise KeyboardInterrupt

        patch.setattr(cli_runs, "checkpointed", stopped)
        command_line = ["train", "glyphs", "--epochs", "2", "--batch", "8", "--out", str(tmp_path / "part"), *options]
        assert main(command_line) == 130
    assert main(["train", "--resume", str(tmp_path / "part")]) == 0
    again = read_run(tmp_path / "part" / "run-small.json")
    assert timeless(attrs.evolve(again, ended="")) == timeless(whole)


def test_images_without_channels_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load", lambda name, folder: images(28, ()))
    assert trained(tmp_path, "--network", "lenet").epochs == 2


def test_the_model_is_saved_where_it_is_said(tmp_path: Path) -> None:
    trained(tmp_path, "--save", str(tmp_path / "mine.safetensors"))
    assert load_model(tmp_path / "mine.safetensors")
    assert not (tmp_path / "model-small.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "expected a data set: one of glyphs, "),
        (["glyphs", "--network", "vgg"], "invalid choice: 'vgg'"),
        (["glyphs", "--minutes", "-1"], "expected a number above 0, got '-1'"),
        (["glyphs", "--rate", "nan"], "expected a number above 0, got 'nan'"),
        (["glyphs", "--minutes", "1", "--epochs", "1"], "not allowed with"),
        (["glyphs", "--augment", "flip,spin"], "there is no 'spin'; there are flip, "),
        (["--resume", "x", "--epochs", "3"], "--resume goes on with the run as it was begun"),
    ],
)
def test_wrong_usage(options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *options])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load", lambda name, folder: images(5))
    assert main(["train", "glyphs", "--network", "lenet", "--out", str(tmp_path)]) == 1
    assert "lenet cannot be trained on small: " in capsys.readouterr().err
    monkeypatch.setattr(command, "load", lambda name, folder: images(labels=np.float32))
    assert main(["train", "glyphs", "--out", str(tmp_path)]) == 1
    assert "the targets are no whole numbers" in capsys.readouterr().err


def test_lab_reports_do_not_go_on_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "plan.json").write_text('{"dataset": "glyphs", "network": "mlp"}')
    assert main(["lab-report", "--resume", str(tmp_path)]) == 1
    assert "Was it begun by another command than funcnet lab-report?" in capsys.readouterr().err
