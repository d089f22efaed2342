"""Runs an iterator ahead of its consumer in a thread, so that reading and computing overlap."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
  """Yields `items` in order, up to `depth` of them made before they are asked for.

  An exception of `items` is raised here, after what came before it. Closing this generator ends the
  thread once the item it is at is made.
  """
  made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
  stopped = threading.Event()

  def put(item: Any, error: BaseException | None = None) -> bool:
    while not stopped.is_set():
      try:
        made.put((item, error), timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def run() -> None:
    try:
      for item in items:
        if not put(item):
          return
      put(_END)
    except BaseException as error:
      put(_END, error)

  thread = threading.Thread(target=run, name="ahead", daemon=True)
  thread.start()
  try:
    while True:
      item, error = made.get()
      if error is not None:
        raise error
      if item is _END:
        return
      yield item
  finally:
    stopped.set()
    thread.join()
