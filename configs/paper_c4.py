"""The paper's rater for C4: 50M parameters, 8 inner models of 400M, 8,000 meta-steps.

    datarater plan configs/paper_c4.py
    datarater meta-train configs/paper_c4.py --run-dir runs/paper_c4

We have not run it. For 64 devices of 80 GB (mesh: member 8, data 8); by the plan about four hours
of H100s at 40% of their peak (`docs/paper-scale.md`). C4 is filtered already: by the paper (Calian
et al. 2025) expect a best discard fraction of 10% and little gain, for the 50M final model a
validation loss of 3.62 nats a token in place of 3.65.

The settings are in `datarater/meta/paper.py`. Open in the paper and chosen by us: the lifetime
(2,000 meta-steps), the meta learning rate (1e-4), the inner optimiser (Adam, 1e-3), the tokenizer
and the shares of the splits. You provide
- the corpus, prepared with
      tfds.builder("c4/en:3.1.0", file_format="array_record").download_and_prepare()
- the tokenizer: a SentencePiece model of 32,000 tokens (`--data.tokenizer.path`).

Shares of the splits: meta-training reads about 34e9 tokens of `inner` and 17e9
of `outer`, the 1B final model at discard fraction 0.1 reads 28e9 of `lm`; C4 has about 156e9
(Dodge et al. 2021, table 1).
"""

from datarater.config import MetaTrainConfig
from datarater.data_config import DataConfig
from datarater.meta.paper import LENGTH, SEGMENTS, TOKENIZER, meta_train_config


def config() -> MetaTrainConfig:
  data = DataConfig(
    dataset="c4/en:3.1.0",
    inner="train[:30%]",
    outer="train[30%:45%]",
    lm="train[45%:]",
    validation="validation[:50%]",
    test="validation[50%:]",
    tokenizer=TOKENIZER,
    length=LENGTH,
    segments=SEGMENTS,
    datapoint="sequence",
  )
  return meta_train_config("paper_c4", data)
