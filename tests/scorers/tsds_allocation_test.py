"""TSDS: the linear programme's solution, the published program's values, densities, copies."""

import numpy as np
import pytest
from scipy.optimize import linprog

from datarater.scorer_config import TsdsConfig
from datarater.scorers.tsds.allocation import allocate
from datarater.scorers.tsds.density import Densities
from datarater.scorers.tsds.distribution import distribution, search_of
from datarater.scorers.tsds.neighbours import ExactSearch

# Of the published program, on the vectors of `vectors`: (seed, N, M, scale, sigma, C) → how many
# documents have one above 1e-9, Σ p², Σ p·index, and p of four. Its distances are float32. In the
# last two all examples run out of neighbours.
PUBLISHED = {
  (0, 400, 5, 1.0, 0.75, 5.0): (
    *(134, 0.009608723688377346, 203.45063681301633),
    {170: 0.02569555681697737, 88: 0.01877240003547648, 241: 0.017144908309468},
  ),
  (1, 400, 3, 1.0, 0.0, 5.0): (
    *(66, 0.01688888888888889, 189.93333333333337),
    {282: 0.039999999999999994, 24: 0.026666666666666665, 43: 0.026666666666666665},
  ),
  (2, 480, 7, 1.0, 0.75, 1.0): (
    *(83, 0.015324622946598835, 229.80540082906342),
    {22: 0.027978428045026968, 28: 0.027978428045026968, 124: 0.027978428045026968},
  ),
  (3, 480, 7, 0.3, 0.75, 0.2): (
    *(236, 0.008653909516829929, 257.3788467419739),
    {67: 0.03640945841940188, 315: 0.034572063673761824, 132: 0.0337794999176612},
  ),
  (4, 160, 4, 0.5, 0.75, 5.0): (
    *(58, 0.02820522379555484, 82.46894251157764),
    {127: 0.08674612817099206, 4: 0.05591370558609131, 2: 0.04412692975801663},
  ),
}


def vectors(seed, number, examples, scale=1.0, width=4):
  random = np.random.default_rng(seed)
  pool = (scale * random.normal(size=(number, width))).astype(np.float32)
  return pool, (scale * random.normal(size=(examples, width))).astype(np.float32)


def found(pool, target, **settings):
  config = TsdsConfig(**settings)
  return distribution(search_of(pool, config), pool, target, config)


def programme(distances_MxN, densities_N, alpha, C):
  """(least value, Σ_j γ [N]) of the linear programme over γ and its largest ρ γ."""
  M, N = distances_MxN.shape
  solved = linprog(
    np.append(alpha / C * distances_MxN.ravel(), (1 - alpha) * M),
    A_ub=np.hstack([np.diag(np.tile(densities_N, M)), -np.ones((M * N, 1))]),
    b_ub=np.zeros(M * N),
    A_eq=np.hstack([np.kron(np.eye(M), np.ones(N)), np.zeros((M, 1))]),
    b_eq=np.full(M, 1 / M),
    method="highs",
    options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
  )
  assert solved.success
  return solved.fun, solved.x[:-1].reshape(M, N).sum(axis=0)


@pytest.mark.parametrize("seed", range(60))
def test_the_growth_solves_the_linear_programme(seed):
  random = np.random.default_rng(seed)
  N, M = (int(random.integers(1, most)) for most in (31, 7))
  pool, target = random.normal(size=(N, 3)), random.normal(size=(M, 3))
  sigma, C = random.choice([0.0, 0.75, 2.0]), random.choice([0.5, 1.0, 5.0])
  alpha = [0.0, 1.0][seed % 2] if seed < 10 else random.uniform(0.05, 0.95)
  search = ExactSearch(pool)
  ids, distances = search.nearest(target, N)
  densities = Densities(search, pool, ids, sigma, N)
  grown = allocate(ids, distances, densities, alpha, C, every_point=True)

  mass = np.zeros((M, N))
  np.put_along_axis(mass, ids, grown.mass_MxK, axis=1)
  gaps = np.linalg.norm(target[:, None] - pool, axis=-1)
  density_N = densities(np.arange(N))
  largest = (density_N * mass).max()
  value = alpha / C * (mass * gaps).sum() + (1 - alpha) * M * largest
  least, mass_N = programme(gaps, density_N, alpha, C)
  assert abs(value - least) < 1e-8
  np.testing.assert_allclose(mass.sum(axis=1), 1 / M, rtol=1e-12)
  assert not grown.exhausted
  if alpha < 1:  # at 1 the largest does not matter, and s is not what makes it
    np.testing.assert_allclose(grown.s, 1 / (M * largest), rtol=1e-12)
  if alpha > 0:  # at 0 distances do not matter, and other masses are as good
    np.testing.assert_allclose(mass.sum(axis=0), mass_N, atol=1e-8)


@pytest.mark.parametrize("case", PUBLISHED)
def test_probabilities_are_those_of_the_published_program(case):
  seed, number, examples, scale, sigma, C = case
  pool, target = vectors(seed, number, examples, scale)
  tenth = number // 10  # the most that the program looks at
  p = found(
    pool, target, sigma=sigma, C=C, max_K=min(5000, tenth), kde_K=min(1000, tenth)
  ).probabilities_N
  nonzero, squares, mean, some = PUBLISHED[case]
  assert np.count_nonzero(p > 1e-9) == nonzero
  np.testing.assert_allclose(np.sum(p**2), squares, rtol=1e-6)
  np.testing.assert_allclose(np.sum(p * np.arange(number)), mean, rtol=1e-6)
  np.testing.assert_allclose(p[list(some)], list(some.values()), rtol=1e-5)


@pytest.mark.parametrize("method", ["exact", "approximate"])
@pytest.mark.parametrize("number", [1, 2, 9, 15, 20, 25, 99])
@pytest.mark.parametrize("examples", [1, 4])
def test_pools_of_any_size(number, examples, method):
  pool, target = vectors(0, number, examples)
  result = found(pool, target, method=method)
  p = result.probabilities_N
  assert p.shape == (number,)
  assert p.dtype == np.float64
  assert (p >= 0).all()
  assert abs(p.sum() - 1) < 1e-14
  assert result.ids_MxK.shape == (examples, number)


def test_one_neighbour_gets_all():
  pool, target = vectors(0, 15, 4)
  nearest = np.linalg.norm(target[:, None] - pool, axis=-1).argmin(axis=1)
  expected = np.bincount(nearest, minlength=15) / 4
  np.testing.assert_allclose(found(pool, target, max_K=1).probabilities_N, expected, rtol=1e-14)


def test_one_neighbour_gets_all_however_dense_it_is_there():
  pool = np.concatenate([[[0.0, 0.0], [0.1, 0.0], [5.0, 5.0]], np.full((30, 2), 50.0)])
  result = found(pool, pool[:3], max_K=1)
  assert result.allocation.s == 1.0
  np.testing.assert_allclose(result.probabilities_N[:3], 1 / 3, rtol=1e-14)


def test_neighbours_that_run_out_keep_the_rest_on_the_last():
  pool, target = vectors(1, 300, 3)
  result = found(pool, target, max_K=4, sigma=0.6, alpha=0.2)
  mass = result.allocation.mass_MxK
  assert result.ids_MxK.shape == (3, 4)
  assert result.allocation.exhausted == 2  # all but the one that grew last
  np.testing.assert_allclose(mass.sum(axis=1), 1 / 3, rtol=1e-14)
  assert not found(pool, target, max_K=30, sigma=0.0, C=0.5).allocation.exhausted


@pytest.mark.parametrize("kde_K", [1, 5, 10_000])
def test_densities_are_direct_sums_over_the_given_points(kde_K):
  pool, _ = vectors(2, 200, 1)
  ids = np.arange(0, 200, 2)
  squared = ((pool[ids, None].astype(np.float64) - pool[ids]) ** 2).sum(axis=-1)
  kernel = np.sort(np.maximum(0, 1 - squared / 0.75**2), axis=1)[:, ::-1]
  densities = Densities(ExactSearch(pool), pool, np.repeat(ids, 2), 0.75, kde_K)
  np.testing.assert_allclose(densities(ids), kernel[:, :kde_K].sum(axis=1), rtol=1e-12)


def test_densities_come_in_any_order_and_are_computed_once():
  pool, _ = vectors(2, 200, 1)
  whole = Densities(ExactSearch(pool), pool, np.arange(200), 0.75, 200)
  at_once = whole(np.arange(200))
  search, asked = ExactSearch(pool), []
  within = search.within
  search.within = lambda queries, *more: asked.append(len(queries)) or within(queries, *more)
  piecewise = Densities(search, pool, np.arange(200), 0.75, 200)
  order = np.random.default_rng(0).permutation(200)
  for part in np.split(order, [3, 50]):
    np.testing.assert_array_equal(piecewise(np.append(part, part)), at_once[np.append(part, part)])
  piecewise(order)
  assert asked == [3, 47, 150]
  assert piecewise.computed == 200


def test_only_points_that_the_growth_reaches_have_a_density():
  pool, target = vectors(3, 4000, 5)
  result = found(pool, target, C=0.5)
  filled = result.allocation.filled_M
  assert filled.max() < 100
  assert result.ids_MxK.shape[1] == 4000
  assert result.densities <= 5 * 1.5 * 1.5 * filled.max()


def test_the_growth_is_the_same_however_many_densities_are_asked_for_at_once(monkeypatch):
  from datarater.scorers.tsds import allocation

  pool, target = vectors(3, 1000, 5)
  few = found(pool, target).probabilities_N
  monkeypatch.setattr(allocation, "_FIRST", 1000)
  np.testing.assert_array_equal(found(pool, target).probabilities_N, few)


def test_near_copies_share_what_one_of_them_got():
  random = np.random.default_rng(0)
  pool = random.normal(size=(3000, 16))
  target = random.normal(size=(8, 16))
  point = int(found(pool, target).ids_MxK[2, 3])
  alone = found(pool, target).probabilities_N[point]
  assert alone > 0
  copies = pool[point] + 1e-3 * random.normal(size=(200, 16))
  more = np.concatenate([pool, copies])

  def of_copies(**settings):
    p = found(more, target, **settings).probabilities_N
    return p[point] + p[3000:].sum()

  assert 0.5 * alone < of_copies() <= 1.2 * alone
  assert of_copies(sigma=0.0) > 3 * alone  # KNN-Uniform has no defence


@pytest.mark.parametrize("sigma", [0.0, 0.75])
def test_copies_of_the_target_itself(sigma):
  pool, target = vectors(4, 200, 2)
  pool[:30] = target[0]
  p = found(pool, target, sigma=sigma).probabilities_N
  assert abs(p.sum() - 1) < 1e-14
  assert p[:30].sum() >= 0.5 / 20  # they lie at distance 0
  only = found(np.repeat(target[:1], 200, axis=0), target[:1], sigma=sigma).probabilities_N
  assert abs(only.sum() - 1) < 1e-14


def test_more_weight_on_diversity_spreads():
  pool, target = vectors(5, 1000, 3)
  sizes = [np.count_nonzero(found(pool, target, alpha=a).probabilities_N) for a in (1, 0.9, 0.5, 0)]
  assert sizes[0] <= 3
  assert sizes == sorted(sizes)
