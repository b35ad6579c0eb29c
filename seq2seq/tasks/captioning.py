"""Captioning of images and clips. A control exchanges the images, and a plot shows the attention of each word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import ClassVar, cast

from omegaconf import DictConfig
from typing_extensions import override

from seq2seq.config.instantiate import locate
from seq2seq.data.corpus import Corpus
from seq2seq.data.images import SUFFIXES
from seq2seq.data.records import Record
from seq2seq.encoders.base import Encoder
from seq2seq.errors import UserError
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.inputs import NamedInput, read_images
from seq2seq.metrics import MetricResult
from seq2seq.metrics.captions import diversity
from seq2seq.metrics.pointing import attributes, exact
from seq2seq.plots.sheet import save_sheet
from seq2seq.tasks.annotations import NO_ANNOTATIONS, Annotations
from seq2seq.tasks.base import RecordChange, ScoredRecords, Task


def shuffled_images(records: Sequence[Record]) -> list[Record]:
    """Return each record with the image of another record.

    The score that remains comes from what all captions have in common. The exchange is the same in every run. Regions
    remain those of the caption, so that pointing accuracy is that of a guess at the usual place of such words.

    Args:
        records: Records of a split.

    Raises:
        UserError: There are fewer than two records.
    """
    if len(records) < 2:
        raise UserError("evaluation.control=shuffled_images needs two images or more; score a larger split")
    order = list(range(len(records)))
    Random(0).shuffle(order)
    # Move each image to the next record of one cycle, so that no image stays in its place.
    other = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [cast(Record, {**record, "source": records[other[n]]["source"]}) for n, record in enumerate(records)]


class Captioning(Task):
    """Task that maps an image, or a clip of several frames, to a caption."""

    reads = ("image", "video")
    source_name = "images"
    encoders = "cnn, patches or video"
    has_source_words = False
    suffixes = SUFFIXES
    highlights: ClassVar[Sequence[str]] = (
        "cider",
        "bleu4",
        "rougeL_coco",
        "perplexity",
        "loss_entmax{n}",
        "pointing",
        "nll_increase_averaged",
        "loss_entmax{n}_increase_averaged",
    )
    controls: ClassVar[Mapping[str, RecordChange]] = {"shuffled_images": shuffled_images}

    @override
    def check(self, corpus: Corpus, config: DictConfig) -> None:
        super().check(corpus, config)
        encoder = cast(type[Encoder], locate(config.encoder._target_))
        # Single images and clips need different encoders.
        if corpus.reads != encoder.reads:
            raise UserError(
                "data.images.frames does not fit the encoder; "
                "data.images.frames=N goes with encoder=video, and data.images.frames=null with all others"
            )
        # The cache holds one result for each file, but an augmented image differs in each epoch.
        changed = corpus.images.random_changes if corpus.images is not None else []
        if changed and config.encoder.get("cache"):
            raise UserError(
                f"encoder.cache stores the features of each image, but data.images.{changed[0]} makes other images "
                "each time; set encoder.cache=null"
            )
        if config.decoder.get("copy"):
            raise UserError(
                "decoder.copy=true copies words of the source, but images have no words; set decoder.copy=false"
            )

    @override
    def inputs(self, path: str | None, data: DictConfig, *, interactive: bool = False) -> Iterator[NamedInput]:
        # The path of an image is both its name and the source.
        return ((file, file) for file in read_images(path, interactive=interactive))

    @override
    def input_files(self, path: str | None) -> Iterator[str | Path]:
        yield from super().input_files(path)
        # Protect the folder too: plots in it would be read as inputs the next time.
        if path is not None:
            yield from [path] if Path(path).is_dir() else read_images(path)

    @override
    def scores(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        return {**diversity(scored.outputs), **self._objects_named(scored)}

    @override
    def plot(
        self,
        seen: AttentionMap,
        directory: str | Path,
        record: int,
        known: Annotations = NO_ANNOTATIONS,
    ) -> list[Path]:
        # Draw the image once for each word, with the attention of the word as brightness.
        assert seen.image is not None and seen.cells is not None
        sentinel = seen.sentinels.get(seen.last)
        name = ", ".join(filter(None, (f"image {record}", seen.image.name)))
        return save_sheet(
            directory,
            record,
            seen.image.images.shown(seen.image.file),
            seen.alignment,
            seen.cells,
            seen.extent,
            seen.words,
            seen.target_words,
            sentinel=None if sentinel is None else sentinel.mean(0),
            regions=known.regions,
            title=f"{seen.model}\n{name}: {' '.join(seen.words)}",
            style=self.style,
        )

    def _objects_named(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return the accuracy of words that name objects; empty if no record has regions.

        Only drawn scenes have regions. Their references are all true captions of them.
        """
        # Collect the words that have a region in any reference.
        naming = {
            word
            for record in scored.readable
            for text, regions in zip(record.get("references", []), record.get("regions", []), strict=False)
            for word, boxes in zip(text.split(), regions, strict=False)
            if boxes
        }

        # Compare them with the outputs.
        rows = attributes(scored.outputs, scored.references, naming)
        named = MetricResult.share(rows, "share of words that name objects, by the nearest reference, place by place")
        if named is None:
            return {}
        values = exact(scored.outputs, scored.references)
        exact_share = MetricResult.mean(values, "share of outputs that are a reference, word for word")
        return {"exact": exact_share, "attributes": named}
