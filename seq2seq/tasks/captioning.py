"""Captioning: images or clips to captions; another image is the control, a sheet shows what each word looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import ClassVar, cast

from omegaconf import DictConfig

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
    """Return each record with the image of another; what is left is what captions have in common.

    The order is drawn once for all. Regions stay those of the caption, so that pointing at them is what a guess at the
    place of such words would give.
    """
    if len(records) < 2:
        raise UserError("evaluation.control=shuffled_images needs two images or more")
    order = list(range(len(records)))
    Random(0).shuffle(order)  # one cycle, so that no image stays in its place
    other = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [cast(Record, {**record, "source": records[other[n]]["source"]}) for n, record in enumerate(records)]


class Captioning(Task):
    """An image, or a clip of several frames, to a caption."""

    reads = ("image", "video")
    source_name = "images"
    encoders = "cnn, patches or video"
    has_source_words = False
    suffixes = SUFFIXES
    controls: ClassVar[Mapping[str, RecordChange]] = {"shuffled_images": shuffled_images}

    def check(self, corpus: Corpus, config: DictConfig) -> None:
        """Refuse an encoder of text or of the other kind of image, and options that images leave without meaning."""
        super().check(corpus, config)
        encoder = cast(type[Encoder], locate(config.encoder._target_))
        if corpus.reads != encoder.reads:
            raise UserError("data.images.frames=N goes with encoder=video, and data.images.frames=null with all others")
        changed = corpus.images.random_changes if corpus.images is not None else []
        if changed and config.encoder.get("cache"):
            raise UserError(
                f"encoder.cache keeps what is said of each image, but data.images.{changed[0]} makes other images "
                "each time: set it to null"
            )
        if config.decoder.get("copy"):
            raise UserError("decoder.copy=true copies words of the source, of which images have none")

    def inputs(self, path: str | None, data: DictConfig, *, interactive: bool = False) -> Iterator[NamedInput]:
        """Yield the paths of images."""
        return ((file, file) for file in read_images(path, interactive=interactive))

    def input_files(self, path: str | None) -> Iterator[str | Path]:
        """Yield the images, and the folder itself: drawings in it would be read the next time."""
        yield from super().input_files(path)
        if path is not None:
            yield from [path] if Path(path).is_dir() else read_images(path)

    def scores(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return how much captions differ and, of drawn scenes, how many words name objects rightly."""
        return {**diversity(scored.outputs), **self._objects_named(scored)}

    def plot(
        self,
        seen: AttentionMap,
        directory: str | Path,
        record: int,
        known: Annotations = NO_ANNOTATIONS,
    ) -> list[Path]:
        """Draw the image, and for each word the image in the light of its weights."""
        assert seen.image is not None and seen.cells is not None
        sentinel = seen.sentinels.get(seen.last)
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
            title=f"{', '.join(filter(None, (f'record {record}', seen.image.name)))}: {' '.join(seen.words)}",
        )

    def _objects_named(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return how many words are right, of drawn scenes, whose references are all that is true of them."""
        naming = {
            word
            for record in scored.readable
            for text, regions in zip(record.get("references", []), record.get("regions", []), strict=False)
            for word, boxes in zip(text.split(), regions, strict=False)
            if boxes
        }
        rows = attributes(scored.outputs, scored.references, naming)
        named = MetricResult.share(rows, "share of words that name objects, by the nearest reference, place by place")
        if named is None:
            return {}
        values = exact(scored.outputs, scored.references)
        whole = MetricResult.mean(values, "share of outputs that are a reference, word for word")
        return {"exact": whole, "attributes": named}
