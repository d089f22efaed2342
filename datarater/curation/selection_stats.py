"""The numbers of a selection's `stats.json`, from what was decided and what was divided."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from datarater.curation.counts import merged
from datarater.curation.tally import Tally
from datarater.errors import require

Stats = dict[str, Any]


def selection_stats(tally: Tally, cuts: str, scored: Sequence[Stats]) -> Stats:
  """Counts by the decisions alone: bytes are known before, not after.

  cuts: of the rule, see `rules`. scored: the counts of each shard's side file.
  """
  total = merged(scored)
  before = _with_bytes(tally.mixture(after=False), total)
  refused = Counter(total.get("rejected", {})) + Counter(tally.rejected())
  return {
    "shards": len(scored),
    "records": total.get("records", 0),
    "shards_cut_short": total.get("shards_cut_short", 0),
    "kept": tally.kept,
    "rejected": dict(sorted(refused.items())),
    "before": before,
    "after": tally.mixture(after=True),
    "cut": tally.cut(cuts),
    "histogram": tally.histogram(),
  }


def with_divided(stats: Stats, divided: Sequence[Stats]) -> Stats:
  """Adds the bytes kept, by domain. InputError where other numbers were divided than decided."""
  total = merged(divided)
  for name in ("records", "kept", "rejected"):
    decided, found = stats[name], total.get(name, type(stats[name])())
    require(
      decided == found,
      f"{name} of the divided corpus is {found}, but {decided} of the decisions: they changed in "
      "between; select into a new folder",
    )
  sides = {name: _with_bytes(stats[name], total.get(name, {})) for name in ("before", "after")}
  return {**stats, **sides}


def _with_bytes(mixture: Stats, counted: Stats) -> Stats:
  """A mixture with the bytes that were counted for the same domains."""
  sizes = counted.get("domains", {})
  domains = {
    name: {**counts, "bytes": sizes.get(name, {}).get("bytes", 0)}
    for name, counts in mixture["domains"].items()
  }
  return {**mixture, "bytes": counted.get("bytes", 0), "domains": domains}
