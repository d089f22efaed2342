"""Corpora as they are published: the Pile's shards, C4 as TFDS prepares it. Tiny, offline."""

import io
import json

import pytest
import tensorflow_datasets as tfds
import zstandard

from datarater import cli
from datarater.data.datasets import check_splits
from datarater.data.sources import open_source
from datarater.data_config import SPLITS, DataConfig

PILE_SETS = ("Pile-CC", "PubMed Abstracts", "Github")
"""Three of the 22 values of `meta.pile_set_name` (Gao et al. 2020)."""


def _pile_shard(first: int, count: int) -> bytes:
  lines = [
    {"text": f"document {k} of the Pile", "meta": {"pile_set_name": PILE_SETS[k % 3]}}
    for k in range(first, first + count)
  ]
  packed = io.BytesIO()
  with zstandard.ZstdCompressor().stream_writer(packed, closefd=False) as stream:
    stream.write("".join(json.dumps(line) + "\n" for line in lines).encode())
  return packed.getvalue()


def test_the_pile_as_published_becomes_a_dataset_with_its_domains(tmp_path, capsys):
  (tmp_path / "train").mkdir()
  for shard in range(2):
    (tmp_path / "train" / f"{shard:02d}.jsonl.zst").write_bytes(_pile_shard(150 * shard, 150))
  output = tmp_path / "pile"
  command = ["data", "prepare", "--input", str(tmp_path / "train" / "*.jsonl.zst")]
  command += ["--output", str(output), "--domain-key", "meta.pile_set_name"]
  assert cli.main(command) == cli.DONE
  assert json.loads(capsys.readouterr().out)["domains"] == sorted(PILE_SETS)
  config = DataConfig(dataset=str(output), target_domain="PubMed Abstracts")
  check_splits(config)
  sizes = [len(open_source(config, split)) for split in ("inner", "lm")]
  assert sum(sizes) > 180
  held_out = open_source(config, "outer")
  assert held_out.domains == ("PubMed Abstracts",)
  assert all(int(held_out[i].text.split()[1]) % 3 == 1 for i in range(len(held_out)))


FEATURES = ("text", "url", "timestamp", "content-type", "content-length")


def _c4_copy(variant: str) -> type[tfds.core.GeneratorBasedBuilder]:
  """A builder of C4's name, version and features that makes its own 60 + 20 documents."""

  class C4(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("3.1.0")
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name=variant),)
    name = "c4"
    code_path = None

    def _info(self):
      features = tfds.features.FeaturesDict({key: tfds.features.Text() for key in FEATURES})
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {
        "train": self._generate_examples("train", 60),
        "validation": self._generate_examples("validation", 20),
      }

    def _generate_examples(self, split, count):
      for k in range(count):
        text = f"{variant} {split} page {k}"
        yield (
          f"{split}{k}",
          {
            "text": text,
            "url": f"https://example.org/{split}/{k}",
            "timestamp": "2019-04-25T12:57:54Z",
            "content-type": "text/plain",
            "content-length": str(len(text)),
          },
        )

  return C4


@pytest.mark.parametrize("variant", ["en", "en.noclean"])
def test_c4_opens_by_its_name_once_it_is_prepared(variant, tmp_path, monkeypatch):
  import tensorflow_datasets.text

  real = tensorflow_datasets.text.C4(config=variant, data_dir=str(tmp_path / "none"))
  _c4_copy(variant)(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
  copy = tfds.builder(f"c4/{variant}:3.1.0")
  assert repr(copy.info.features) == repr(real.info.features)
  assert copy.info.full_name == real.info.full_name == f"c4/{variant}/3.1.0"
  config = DataConfig(
    dataset=f"c4/{variant}:3.1.0",
    id_key="url",
    inner="train[:60%]",
    outer="train[60%:70%]",
    lm="train[70%:]",
    validation="validation[:50%]",
    test="validation[50%:]",
  )
  check_splits(config)
  sources = {split: open_source(config, split) for split in SPLITS}
  assert [len(source) for source in sources.values()] == [36, 6, 18, 10, 10]
  ids = {source[i].id for source in sources.values() for i in range(len(source))}
  assert len(ids) == 80
  assert sources["test"][0].text.startswith(f"{variant} validation page ")
  assert sources["inner"].domains == ("all",)
