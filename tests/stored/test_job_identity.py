"""Tests of the identity of a sweep's job across versions."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import OmegaConf

from seq2seq.cli import hydra_app, sweep
from seq2seq.comparison.packs import job_key
from seq2seq.stored.job_identity import identity


def composed(*options: str) -> str:
    """Return the config that a command line composes, in YAML."""
    (config,) = hydra_app.compose("train", list(options))
    return OmegaConf.to_yaml(config)


def earlier_config() -> str:
    """Return the default config of an earlier version: trainer=cpu, and without options that came later."""
    return re.sub(r"  (verbose: .*|strict: .*|freeze: .*|test: true)\n", "", composed("trainer=cpu"))


def test_a_job_of_an_earlier_version_is_the_same_job_now() -> None:
    now, earlier = composed(), earlier_config()
    assert "accelerator: auto" in now and "accelerator: cpu" in earlier and "verbose" not in earlier
    assert identity(now) == identity(earlier) and identity("") == ""
    assert job_key(now) == job_key(earlier)
    assert identity(composed("seed=2")) != identity(earlier)
    assert identity(composed("trainer=gpu")) != identity(earlier)


def test_a_sweep_of_an_earlier_version_goes_on_in_its_directories(tmp_path: Path) -> None:
    file = tmp_path / "1" / ".hydra" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(earlier_config())
    (file.parents[1] / "config.yaml").touch()
    (config,) = hydra_app.compose("train", [])
    node = {"sweep": {"dir": str(tmp_path)}, "job": {"num": 5}}
    whole = config.copy()
    OmegaConf.update(whole, "hydra", node, force_add=True)
    assert sweep.place(whole) == "1"
    assert sweep.belongs(tmp_path / "1", config) and sweep.belongs(tmp_path / "new", config)
    (other,) = hydra_app.compose("train", ["seed=2"])
    assert not sweep.belongs(tmp_path / "1", other)
