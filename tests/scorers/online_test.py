"""The online filter takes any scorer: tokens become the text that the scorer reads."""

import numpy as np
import pytest
from toys import Length

from datarater.data.loader import train_loader
from datarater.data.online import OnlineFilter
from datarater.data.packing import Chunk, assemble, chunks_of
from datarater.data.sources import Record, source_of
from datarater.data.tokenizers import ByteTokenizer
from datarater.data_config import DataConfig
from datarater.scorers.online import batch_rating

TOKENIZER = ByteTokenizer()


def packed(rows: list[list[str]]):
  def chunk(text, number):
    tokens = [TOKENIZER.separator_id, *TOKENIZER.encode(text), TOKENIZER.separator_id]
    return Chunk(np.array(tokens, np.int32), number, 0, len(text))

  chunks = [[chunk(text, 10 * r + k) for k, text in enumerate(row)] for r, row in enumerate(rows)]
  return assemble(chunks, len(rows), 32, 3)


def test_each_document_of_a_row_is_rated_as_text():
  rate = batch_rating(Length(), DataConfig(datapoint="document"), TOKENIZER)
  ratings = rate(packed([["abc", "é"], [], ["nan"]]))
  expected = [[3, 1, np.nan], [np.nan] * 3, [np.nan] * 3]
  np.testing.assert_array_equal(ratings, np.array(expected, np.float32))


def test_a_row_that_is_one_datapoint_is_rated_whole():
  rate = batch_rating(Length(), DataConfig(datapoint="sequence"), TOKENIZER)
  ratings = rate(packed([["abc", "de"], []]))
  np.testing.assert_array_equal(ratings, np.array([[3 + 2 + 2], [np.nan]], np.float32))


@pytest.mark.parametrize("datapoint", ["document", "sequence"])
def test_the_filter_trains_on_what_any_scorer_rates_best(datapoint):
  texts = ["x" * n for n in (3, 20) for _ in range(40)]
  source = source_of([Record(text, str(i), "d") for i, text in enumerate(texts)])
  data = DataConfig(length=32, segments=2, datapoint=datapoint, shuffle_window=8)
  loader = train_loader(source, TOKENIZER, data, rows=16, seed=0)
  online = OnlineFilter(loader, batch_rating(Length(), data, TOKENIZER), datapoint, rows=4)
  drawn = next(online)
  online.close()
  assert [sum(len(c.tokens) for c in row) > 20 for row in chunks_of(drawn)] == [True] * 4
