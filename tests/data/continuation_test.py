"""Where a continuation begins among the tokens of a pair."""

import numpy as np

from datarater.data.continuation import encode_pair
from datarater.data.tokenizers import ByteTokenizer


class Merging:
  """A tokenizer that joins `ab` into one token: its border moves with what follows."""

  vocab_size, separator_id = 258, 257

  def encode(self, text: str) -> np.ndarray:
    return np.frombuffer(text.replace("ab", "\x01").encode(), np.uint8).astype(np.int32)


def test_the_border_is_where_the_harness_puts_it():
  # Spaces that end the context belong to the continuation.
  assert encode_pair(ByteTokenizer(), "one  ", "two")[1] == 3
  assert encode_pair(ByteTokenizer(), "one", "  two")[1] == 3
  assert encode_pair(ByteTokenizer(), "", "two")[1] == 0
  assert encode_pair(ByteTokenizer(), " ", "two")[1] == 0
  assert encode_pair(ByteTokenizer(), "é", "字")[1] == 2
  # The whole is encoded, and what is beyond the context's own tokens is the tail.
  tokens, start = encode_pair(Merging(), "ca", "bd")
  np.testing.assert_array_equal(tokens, [ord("c"), 1, ord("d")])
  assert start == 2
  # Where nothing is beyond them, the last token is the tail.
  assert encode_pair(Merging(), "ca", "b")[1] == 1


def test_without_any_text_there_are_no_tokens():
  tokens, start = encode_pair(ByteTokenizer(), " ", "")
  assert (len(tokens), start) == (1, 0)
  assert encode_pair(ByteTokenizer(), "", "")[1] == 0
