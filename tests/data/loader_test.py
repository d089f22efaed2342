"""Batches are endless, exact in shape, shuffled by epoch, shared out, and resume bit for bit."""

import collections
import contextlib
import itertools
import json
import random

import jax
import numpy as np
import pytest

from datarater.data.loader import evaluation_batches, train_loader
from datarater.data.packing import chunks_of, cut
from datarater.data.sources import Record, Source, source_of
from datarater.data.tokenizers import ByteTokenizer
from datarater.data_config import DataConfig
from datarater.errors import InputError

TOKENIZER = ByteTokenizer()
ROWS = 4
CONFIG = DataConfig(length=16, segments=3, shuffle_window=40)


def make_source(number: int = 50, longest: int = 60, noise_levels=()) -> Source:
  """Documents of 1 to `longest` letters, some of them é, in three domains."""
  draw = random.Random(0)
  records = []
  for i in range(number):
    text = "".join(draw.choice("abcdé") for _ in range(draw.randint(1, longest)))
    records.append(Record(text, str(i), "xyz"[i % 3]))
  return source_of(records, noise_levels)


@contextlib.contextmanager
def loading(source: Source, config: DataConfig = CONFIG, rows=ROWS, seed=0, shard=(0, 1)):
  iterator = train_loader(source, TOKENIZER, config, rows, seed, shard)
  try:
    yield iterator
  finally:
    iterator.close()


def take(source: Source, number: int, **kwargs) -> list:
  with loading(source, **kwargs) as iterator:
    return list(itertools.islice(iterator, number))


def same(a, b) -> bool:
  return all(
    x.dtype == y.dtype and np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def chunk_keys(batches) -> list[tuple]:
  return [
    (chunk.document, tuple(chunk.tokens.tolist()))
    for batch in batches
    for row in chunks_of(batch)
    for chunk in row
  ]


def source_keys(source: Source, config: DataConfig = CONFIG, indices=None) -> list[tuple]:
  """What cutting the source by hand gives."""
  found = []
  for i in indices if indices is not None else range(len(source)):
    tokens = TOKENIZER.encode(source[i].text)
    found += [(i, tuple(c.tokens.tolist())) for c in cut(tokens, 256, config.length, 0)]
  return found


def documents_in_order(batches) -> list[int]:
  return list(dict.fromkeys(document for document, _ in chunk_keys(batches)))


def test_shapes_bytes_domains_and_little_padding():
  source = make_source()
  for batch in take(source, 30):
    assert batch.tokens_BxL.shape == (ROWS, 16)
    assert batch.document_ids_BxS.shape == (ROWS, 3)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(batch))
    assert {leaf.dtype for leaf in jax.tree.leaves(batch)} == {np.dtype(np.int32)}
    assert (batch.segment_ids_BxL > 0).mean() > 0.6
    there = np.arange(1, 4) <= batch.segment_ids_BxL.max(axis=1, keepdims=True)
    for leaf, absent in (("document_ids_BxS", -1), ("domain_BxS", -1), ("bytes_BxS", 0)):
      assert ((getattr(batch, leaf) != absent) == there).all(), leaf
    for row in chunks_of(batch):
      assert row, "no empty rows in training"
      for chunk in row:
        assert source.domains[chunk.domain] == source[chunk.document].domain
        assert chunk.bytes == (chunk.tokens != 256).sum()


def test_an_epoch_holds_every_chunk_once_and_the_next_is_in_another_order():
  source, config = make_source(), DataConfig(length=16, segments=3, shuffle_window=1)
  expected = source_keys(source)
  batches = take(source, 200, config=config)
  keys = chunk_keys(batches)
  first, second = keys[: len(expected)], keys[len(expected) : 2 * len(expected)]
  # Packing moves a chunk by a batch at most, so epochs mingle at their border alone.
  margin = 20
  assert len(set(first) & set(expected)) >= len(set(expected)) - margin
  counts = collections.Counter(keys)
  assert set(counts) == set(expected)
  assert max(counts.values()) - min(counts.values()) <= 1 + max(
    collections.Counter(expected).values()
  )
  orders = [list(dict.fromkeys(d for d, _ in part)) for part in (first, second)]
  assert sorted(orders[0]) != orders[0]
  agreement = np.corrcoef(
    *[[order.index(d) for d in set(orders[0]) & set(orders[1])] for order in orders]
  )
  assert abs(agreement[0, 1]) < 0.5, "epochs are shuffled apart"


def test_seeds_give_orders_that_are_not_shifts_of_each_other():
  source, config = make_source(), DataConfig(length=256, segments=1, shuffle_window=1)
  number = len(source_keys(source, config))
  epochs = {}
  for seed in (0, 1):
    keys = chunk_keys(take(source, 3 * number // ROWS, config=config, seed=seed))
    epochs[seed] = [[d for d, _ in keys[k * number : (k + 1) * number]] for k in range(3)]
  # Grain adds the epoch to the seed: with plain seeds 0 and 1, epoch 1 of 0 were epoch 0 of 1.
  for a, b in itertools.product(epochs[0], epochs[1]):
    assert a != b
  assert same(take(source, 5, seed=7)[-1], take(source, 5, seed=7)[-1])


def test_window_mixes_chunks_of_a_long_document():
  source = source_of([Record(c * 600, c, "x") for c in "abcdefgh"])
  config = DataConfig(length=16, segments=1, shuffle_window=320)
  documents = [
    len(set(batch.document_ids_BxS[:, 0].tolist())) for batch in take(source, 20, config=config)
  ]
  assert np.mean(documents) > 2.5
  unmixed = DataConfig(length=16, segments=1, shuffle_window=1)
  documents = [
    len(set(batch.document_ids_BxS[:, 0].tolist())) for batch in take(source, 20, config=unmixed)
  ]
  assert np.mean(documents) < 1.5


@pytest.mark.parametrize("count", [2, 3])
def test_shards_are_disjoint_and_cover_an_epoch(count):
  source = make_source(48)
  config = DataConfig(length=256, segments=1, shuffle_window=1)  # a row a document, in order
  shares = []
  for index in range(count):
    batches = take(source, 12 // count, config=config, shard=(index, count))
    shares.append([d for d, _ in chunk_keys(batches)])
  assert sorted(itertools.chain(*shares)) == list(range(48))


@pytest.mark.parametrize("window", [1, 40, 1000])
def test_resumes_bit_for_bit_from_any_position(window):
  """Positions inside and at the ends of windows, packs and epochs; the state goes through JSON."""
  source = make_source()
  config = DataConfig(length=16, segments=3, shuffle_window=window)
  stops = [0, 1, 7, 8, 23, 40, 41]
  with loading(source, config) as iterator:
    states, batches = {0: iterator.get_state()}, []
    for i in range(1, max(stops) + 12):
      batches.append(next(iterator))
      states[i] = json.loads(json.dumps(iterator.get_state()))
    iterator.set_state(states[7])  # back, in an iterator that has run on
    assert same(next(iterator), batches[7])
  for stop in stops:
    with loading(source, config) as again:
      again.set_state(json.loads(json.dumps(states[stop])))
      assert again.get_state() == states[stop]
      for i in range(stop, stop + 10):
        assert same(next(again), batches[i])
        assert json.loads(json.dumps(again.get_state())) == states[i + 1]


def test_resuming_keeps_the_shard():
  source = make_source()
  with loading(source, shard=(1, 2)) as iterator:
    batches = [next(iterator) for _ in range(9)]
    state = iterator.get_state()
    batches += [next(iterator) for _ in range(5)]
  with loading(source, shard=(1, 2)) as again:
    again.set_state(state)
    assert all(same(next(again), batch) for batch in batches[9:])


def test_a_subset_is_all_that_is_read():
  source = make_source().subset([3, 30, 31])
  seen = {chunk for batch in take(source, 20) for chunk in chunk_keys([batch])}
  assert seen == set(source_keys(source))


def test_noise_is_the_same_in_every_epoch_and_subset():
  levels = (0.0, 0.5)
  source = make_source(10, noise_levels=levels)
  clean = make_source(10)
  config = DataConfig(length=256, segments=1, shuffle_window=1)
  texts = collections.defaultdict(set)
  for batch in take(source, 15, config=config):
    for document, tokens in chunk_keys([batch]):
      texts[document].add(tokens)
  assert all(len(variants) == 1 for variants in texts.values())
  originals = dict(source_keys(clean, config))
  for document, (tokens,) in texts.items():
    changed = np.mean(np.array(tokens[1:]) != np.array(originals[document][1:]))
    level = levels[document % 2]
    assert 0.35 * level <= changed <= 0.6 * (level > 0)
  part = source.subset([7, 1])
  again = dict(chunk_keys(take(part, 2, config=config)))
  assert {again[0]} == texts[7]
  assert {again[1]} == texts[1]


def test_domains_of_noise_are_the_levels():
  source = make_source(10, noise_levels=(0.5, 0.0))
  for batch in take(source, 5):
    for row in chunks_of(batch):
      for chunk in row:
        assert source.domains[chunk.domain] == ("noise_0.5", "noise_0")[chunk.document % 2]


def test_bad_input_is_refused():
  source = make_source()
  with pytest.raises(InputError, match="no documents"):
    train_loader(source.subset([]), TOKENIZER, CONFIG, ROWS, 0)
  with pytest.raises(InputError, match="rows is 0"):
    train_loader(source, TOKENIZER, CONFIG, 0, 0)
  with pytest.raises(InputError, match=r"shard is \(2, 2\)"):
    train_loader(source, TOKENIZER, CONFIG, ROWS, 0, (2, 2))
  empty = source_of([Record("", str(i), "x") for i in range(5)])
  with loading(empty) as iterator, pytest.raises(InputError, match=r"no document .* any text"):
    next(iterator)


def test_empty_documents_are_skipped():
  records = [Record("" if i % 2 else "text", str(i), "x") for i in range(10)]
  for batch in take(source_of(records), 10):
    assert {d % 2 for d in batch.document_ids_BxS.ravel().tolist() if d >= 0} == {0}


def evaluate(source: Source, maximum: int = 0, rows: int = ROWS) -> list:
  return list(evaluation_batches(source, TOKENIZER, CONFIG, rows, maximum))


def test_evaluation_covers_each_document_once_in_order():
  source = make_source()
  batches = evaluate(source)
  assert sorted(chunk_keys(batches)) == sorted(source_keys(source))
  firsts = [min(d for d, _ in chunk_keys([batch])) for batch in batches]
  assert firsts == sorted(firsts)
  assert documents_in_order(batches[:1])[0] == 0
  assert sum(batch.bytes_BxS.sum() for batch in batches) == sum(
    len(source[i].text.encode()) for i in range(len(source))
  )
  assert all(batch.tokens_BxL.shape == (ROWS, 16) for batch in batches)
  assert all(map(same, evaluate(source), batches))


def test_last_evaluation_batch_ends_in_empty_rows():
  (batch,) = evaluate(source_of([Record("ab", "0", "x")]), rows=3)
  assert batch.segment_ids_BxL.any(axis=1).tolist() == [True, False, False]
  assert batch.document_ids_BxS.tolist() == [[0, -1, -1], [-1] * 3, [-1] * 3]
  assert not batch.loss_mask_BxL[1:].any()


@pytest.mark.parametrize("maximum", [1, 4, 10, 1000])
def test_evaluation_subset_is_spread_within_its_budget(maximum):
  source = make_source(90)
  batches = evaluate(source, maximum)
  keys = chunk_keys(batches)
  assert set(keys) <= set(source_keys(source))
  assert not collections.Counter(keys) - collections.Counter(source_keys(source))
  for domain in range(3):
    mine = [(d, tokens) for d, tokens in keys if d % 3 == domain]
    used = sum(len(tokens) for _, tokens in mine)
    everything = sum(len(tokens) for d, tokens in source_keys(source) if d % 3 == domain)
    assert used <= maximum * 16
    assert used >= min(everything, maximum * 16 - 16)
    if maximum == 10:
      assert len({d // 30 for d, _ in mine}) == 3, "early, middle and late documents"
  assert all(map(same, evaluate(source, maximum), batches))


def test_evaluation_subset_of_short_documents_fills_its_budget():
  source = make_source(90, longest=4)
  for domain in range(3):
    used = sum(len(tokens) for d, tokens in chunk_keys(evaluate(source, 5)) if d % 3 == domain)
    assert 4 * 16 < used <= 5 * 16


def test_bad_evaluation_is_refused():
  source = make_source()
  with pytest.raises(InputError, match="max_rows_by_domain is -1"):
    evaluation_batches(source, TOKENIZER, CONFIG, ROWS, -1)
  with pytest.raises(InputError, match="rows is 0"):
    evaluation_batches(source, TOKENIZER, CONFIG, 0)
  with pytest.raises(InputError, match="no documents"):
    evaluation_batches(source.subset([]), TOKENIZER, CONFIG, ROWS)


def test_each_domain_may_have_its_own_number_of_rows():
  records = [Record("x" * 100, f"{d}{i}", d) for d in ("a", "b", "c") for i in range(20)]
  config = DataConfig(length=32, segments=2)
  batches = evaluation_batches(
    source_of(records), ByteTokenizer(), config, 8, {"a": 3, "b": 0, "c": 10}
  )
  size = np.zeros(3, int)
  for batch in batches:
    there = batch.domain_BxS >= 0
    size += np.bincount(batch.domain_BxS[there], batch.bytes_BxS[there], 3).astype(int)
  assert 0 < size[0] <= 3 * 32
  assert size[1] == 2000
  assert 3 * 32 < size[2] <= 10 * 32
