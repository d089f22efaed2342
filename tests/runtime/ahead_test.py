"""What is run ahead comes in order, with its errors, and ends when nobody listens."""

import itertools
import threading
import time

import pytest

from datarater.runtime.ahead import ahead


def test_items_come_in_order_and_only_so_many_ahead():
  made = []

  def items():
    for i in range(20):
      made.append(i)
      yield i

  stream = ahead(items(), depth=3)
  assert next(stream) == 0
  deadline = time.monotonic() + 10
  while len(made) < 5 and time.monotonic() < deadline:
    time.sleep(0.01)
  time.sleep(0.05)
  assert len(made) == 5  # one taken, three waiting, one in the thread's hand
  assert list(stream) == list(range(1, 20))


def test_an_error_comes_after_what_was_made_before_it():
  def items():
    yield 1
    raise KeyError("broken")

  stream = ahead(items())
  assert next(stream) == 1
  with pytest.raises(KeyError, match="broken"):
    next(stream)


def test_closing_ends_the_thread():
  before = threading.active_count()
  stream = ahead(itertools.count(), depth=1)
  next(stream)
  assert threading.active_count() == before + 1
  stream.close()
  assert threading.active_count() == before
