"""Tests of pretrained networks: read from a folder, frozen or trained, with features cached on disk."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image

from seq2seq.cli import hydra_app, train
from seq2seq.encoders.backbone import BackboneEncoder, _last_map
from seq2seq.errors import UserError
from seq2seq.files import sealed
from tests.damage import damage
from tests.encoders.test_image import shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small ResNet with random weights by ``save_pretrained`` and return its folder."""
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(3)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    transformers.ResNetBackbone(config).save_pretrained(path)
    (path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}')
    return path


def test_network_pixels_and_stride_come_from_the_folder(folder: Path) -> None:
    """The values equal the projected feature map of the network that transformers loads."""
    import transformers

    ours = BackboneEncoder(None, dim=12, name=str(folder)).eval()
    theirs = transformers.ResNetBackbone.from_pretrained(folder, out_features=["stage2"]).eval()
    data = shown((64, 64), side=64)
    pixels = (data.images.pixels[:, 0].float() / 255 - 0.5) / 0.25
    grid = theirs(pixels).feature_maps[-1]
    assert 64 // ours.stride == grid.shape[2]
    memory = ours(data).memory
    torch.testing.assert_close(memory.values, ours.project(grid.flatten(2).mT))
    assert memory.extent.tolist() == [list(grid.shape[2:])]
    with torch.device("meta"):
        BackboneEncoder(None, dim=12, name=str(folder))


def test_the_network_learns_only_after_train_from(folder: Path) -> None:
    """A float is a share of training, an integer a number of updates; without ``train_from`` it stays frozen."""
    data = shown((64, 64), (64, 40), side=64)
    for train_from, progress, updates, learns in (
        (None, 1.0, 9, False),
        (0.5, 0.4, 9, False),
        (0.5, 0.5, 0, True),
        (0.0, 0.0, 0, True),
        (7, 1.0, 6, False),
        (7, 0.1, 7, True),
    ):
        ours = BackboneEncoder(None, dim=12, name=str(folder), train_from=train_from).train()
        ours.set_progress(progress, updates)
        ours(data).memory.values.square().sum().backward()
        grads = [p.grad is not None and bool(p.grad.any()) for p in ours.network.parameters()]
        assert any(grads) is learns and ours.project.weight.grad is not None
        assert ours.network.training is learns


def test_cached_features_equal_computed_ones(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of the same image are read from the cache; other pixels or another size are computed."""
    files = []
    for name in "ab":
        files.append(str(tmp_path / f"{name}.png"))
        Image.new("RGB", (64, 64)).save(files[-1])
    data = shown((64, 64), (64, 64), side=64)
    data = replace(data, images=replace(data.images, files=tuple(files)))
    ours = BackboneEncoder(None, dim=12, name=str(folder), cache=str(tmp_path / "kept")).eval()
    computed = replace(data, images=replace(data.images))
    first = ours(data).memory.values
    assert len(list((tmp_path / "kept").iterdir())) == 2
    monkeypatch.setattr(ours, "features", None)  # any computation fails
    assert ours(data).memory.values.equal(first)
    plain = BackboneEncoder(None, dim=12, name=str(folder)).eval()
    plain.project.load_state_dict(ours.project.state_dict())
    torch.testing.assert_close(first, plain(computed).memory.values, rtol=1e-2, atol=1e-2)  # half precision
    smaller = data.images.sizes.clone()
    smaller[0, 1] = 60  # the same pixels, but the last rows count as padding
    for other in ({"pixels": 255 - data.images.pixels}, {"sizes": smaller}):
        with pytest.raises(TypeError):  # the features must be computed
            ours(replace(data, images=replace(data.images, **other)))


def test_damaged_cache_files_are_computed_again(folder: Path, tmp_path: Path) -> None:
    """After random damage to a file, the encoder gives the same values, and every file is whole again."""
    data = shown((64, 64), (64, 40), (32, 64), side=64)
    data = replace(data, images=replace(data.images, files=("a", "b", "c")))
    ours = BackboneEncoder(None, dim=12, name=str(folder), cache=str(tmp_path / "kept")).eval()
    first = ours(data).memory.values
    files = sorted((tmp_path / "kept").iterdir())
    random = Random(0)
    for _ in range(60):
        file = random.choice(files)
        damage(file, [other for other in files if other != file], random)
        sealed._verified.clear()  # as in another process
        mended = ours(data).memory.values  # computed in a batch of another size: the last bit may differ
        torch.testing.assert_close(mended, first, rtol=1e-2, atol=1e-3)
        assert all(sealed.content(other) is not None for other in files)


def test_a_run_with_a_backbone_fills_the_cache(folder: Path, tmp_path: Path) -> None:
    """A cache with images that change in each epoch is refused."""
    lines = [
        *("data=toy_captioning", "encoder=backbone", f"encoder.name={folder}", "logger=csv", "data.reader.train=12"),
        *("data.reader.valid=3", "data.reader.test=3", "model.dim=16", "model.embedding_dim=8", "trainer.max_steps=2"),
        *("training.num_plots=0", "decoding=greedy", "task.max_length=8", f"data.cache={tmp_path}"),
        f"encoder.cache={tmp_path / 'kept'}",
    ]
    (config,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in lines])
    train.train(config, tmp_path / "run")
    assert len(list((tmp_path / "kept").iterdir())) == 18
    (changing,) = hydra_app.compose("train", [hydra_app.as_override(line) for line in (*lines, "data.images.flip=0.5")])
    with pytest.raises(UserError, match=r"encoder\.cache .* data\.images\.flip makes other images"):
        train.check(changing)


def test_maps_with_channels_last_are_transposed() -> None:
    """Swin networks of timm give such maps."""
    grid = torch.randn(2, 5, 3, 4)  # N, F, rows, columns
    for given in (grid, grid.permute(0, 2, 3, 1)):
        assert _last_map(5, lambda x, given=given: [x, given], torch.zeros(1)).equal(grid)


def test_missing_libraries_and_wrong_options_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for library in ("transformers", "timm"):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(UserError, match=rf"library={library}: .*pip install {library}"):
            BackboneEncoder(None, dim=12, name="x", library=library)
    with pytest.raises(UserError, match=r"library=.* is unknown; choose one of transformers, timm"):
        BackboneEncoder(None, dim=12, name="x", library="keras")
    with pytest.raises(UserError, match=r"train_from=1\.5"):
        BackboneEncoder(None, dim=12, name="x", train_from=1.5)
    with pytest.raises(UserError, match=r"^cache=.* train_from=null"):
        BackboneEncoder(None, dim=12, name="x", train_from=0.0, cache="x")


def test_missing_backbone_is_reported_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"^name=.* can't be loaded as a backbone of transformers"):
        BackboneEncoder(None, dim=12, name=str(tmp_path))
