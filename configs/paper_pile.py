"""The paper's rater for the Pile: 50M parameters, 8 inner models of 400M, 8,000 meta-steps.

    datarater plan configs/paper_pile.py
    datarater meta-train configs/paper_pile.py --run-dir runs/paper_pile

We have not run it. For 64 devices of 80 GB (mesh: member 8, data 8); by the plan about four hours
of H100s at 40% of their peak (`docs/paper-scale.md`). By the paper (Calian et al. 2025) expect
ratings that settle after a few thousand meta-steps (autocorrelation above 0.95), a best discard
fraction of 75%, and for the 50M final model a validation loss of 2.94 nats a token in place of
3.17.

The settings are in `datarater/meta/paper.py`. Open in the paper and chosen by us: the lifetime
(2,000 meta-steps), the meta learning rate (1e-4), the inner optimiser (Adam, 1e-3), the tokenizer
and the shares of the splits. You provide
- the corpus, whose five splits this makes:
      datarater data prepare --input 'pile/*.jsonl.zst' --domain-key meta.pile_set_name \\
          --output data/pile
- the tokenizer: a SentencePiece model of 32,000 tokens (`--data.tokenizer.path`).
"""

from datarater.config import MetaTrainConfig
from datarater.data_config import DataConfig
from datarater.meta.paper import LENGTH, SEGMENTS, TOKENIZER, meta_train_config


def config() -> MetaTrainConfig:
  data = DataConfig(
    dataset="data/pile",
    tokenizer=TOKENIZER,
    length=LENGTH,
    segments=SEGMENTS,
    datapoint="sequence",
  )
  return meta_train_config("paper_pile", data)
