"""Configs: what each refuses and says of it, then JSON and config files. No training."""

import dataclasses
import json
import typing
from pathlib import Path

import pytest

from datarater.config import (
  DemoConfig,
  MeshConfig,
  MetaConfig,
  MetaTrainConfig,
  ModelConfig,
  OptimizerConfig,
  SelectionConfig,
  TrainConfig,
)
from datarater.config_io import differences, from_json, load_config_file, to_json
from datarater.data_config import DataConfig, TokenizerConfig
from datarater.errors import InputError
from datarater.variant_config import FrozenConfig, LoraConfig

SOME_RUN = FrozenConfig(run="some run")
CUDNN = ModelConfig(attention="cudnn")
TARGET = DataConfig(target_domain="speeches")
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))

# Fields with the least value that they take; each is refused just below.
LEAST = {
  DataConfig: {"length": 2, "segments": 1, "shuffle_window": 1},
  ModelConfig: {"width": 1, "layers": 1, "heads": 1, "mlp_width": 1},
  OptimizerConfig: dict.fromkeys(
    ["learning_rate", "eps", "eps_root", "weight_decay", "clip_norm", "warmup_steps"], 0
  ),
  MetaConfig: dict.fromkeys(
    [
      "steps",
      "unroll_length",
      "population",
      "lifetime",
      "inner_batch",
      "outer_batch",
      "evolution_pairs",
    ],
    1,
  )
  | dict.fromkeys(
    ["learning_rate", "warmup_steps", "weight_decay", "clip_norm", "eps", "microbatch"], 0
  ),
  LoraConfig: {"rank": 0},
  MeshConfig: {"member": 1, "data": 1, "model": 1},
  MetaTrainConfig: {
    "seed": 0,
    "snapshot_every": 0,
    "checkpoint_every": 1,
    "keep_checkpoints": 1,
    "cdf_documents": 1,
  },
  TrainConfig: {"seed": 0, "evaluation_rows": 0, "evaluation_target_rows": 0}
  | dict.fromkeys(["steps", "batch", "evaluations", "checkpoint_every"], 1),
}
# Fields that take a number from 0 up to, not including, 1.
FRACTIONS = {
  OptimizerConfig: ["momentum", "b1", "b2"],
  MetaConfig: ["b1", "b2"],
  SelectionConfig: ["discard_fraction"],
}
# Fields that take a number above 0.
POSITIVE = {MetaConfig: ["evolution_scale"], LoraConfig: ["alpha"]}
# Everything else that is refused: class, its fields, words of the message.
REFUSED = [
  (TokenizerConfig, {"kind": "huggingface"}, ["TokenizerConfig.path", "'huggingface'", "file"]),
  (TokenizerConfig, {"kind": "sentencepiece"}, ["TokenizerConfig.path", "'sentencepiece'"]),
  (DataConfig, {"noise_levels": (0.5, 1.5)}, ["DataConfig.noise_levels", "1.5", "0 to 1"]),
  (DataConfig, {"noise_levels": (-0.1,)}, ["DataConfig.noise_levels", "-0.1"]),
  (ModelConfig, {"width": 12, "heads": 4}, ["ModelConfig.width", "12", "4 heads", "multiple"]),
  (MetaTrainConfig, {"rater": CUDNN}, ["rater.attention", "'cudnn'", "'xla'"]),
  (MetaTrainConfig, {"inner": CUDNN}, ["inner.attention", "'cudnn'", "'xla'"]),
  (
    MetaConfig,
    {"outer_loss": "error_rate"},
    ["meta.outer_loss", "'error_rate'", "meta.estimator", "'mixed'", "'evolution'", "'nll'"],
  ),
  (
    MetaConfig,
    {"estimator": "reverse", "residuals": "keep"},
    ["meta.residuals", "'keep'", "meta.estimator", "'reverse'", "'recompute'"],
  ),
  (MetaConfig, {"inner_batch": 8, "microbatch": 3}, ["meta.microbatch is 3", "8", "divisor"]),
  (MetaConfig, {"microbatch": 8, "residuals": "keep"}, ["meta.microbatch is 8", "'keep'", "0"]),
  (MetaTrainConfig, {"mesh": MeshConfig(member=3)}, ["mesh.member", "3", "meta.population", "8"]),
  (MetaTrainConfig, {"mesh": MeshConfig(data=5)}, ["mesh.data", "5", "meta.inner_batch", "32"]),
  (
    MetaTrainConfig,
    {"meta": MetaConfig(outer_batch=6), "mesh": MeshConfig(data=4)},
    ["mesh.data", "4", "meta.outer_batch", "6"],
  ),
  (
    MetaTrainConfig,
    {"meta": MetaConfig(objective="target")},
    ["meta.objective", "'target'", "data.target_domain", "data.target_dataset"],
  ),
  (MetaTrainConfig, {"data": TARGET}, ["meta.objective", "'heldout'", "'speeches'", "empty"]),
  (
    MetaTrainConfig,
    {"data": DataConfig(target_dataset="c4/en:3.1.0")},
    ["meta.objective", "'heldout'", "'c4/en:3.1.0'"],
  ),
  (
    MetaTrainConfig,
    {"rater_kind": "mixture"},
    ["rater_kind", "'mixture'", "data.datapoint 'sequence'", "'document'"],
  ),
  (
    MetaTrainConfig,
    {"rater_kind": "online", "data": DataConfig(datapoint="token")},
    ["rater_kind", "'online'", "data.datapoint 'token'", "'document'"],
  ),
  (
    MetaTrainConfig,
    {"rater_kind": "online", "meta": MetaConfig(microbatch=8)},
    ["rater_kind", "'online'", "meta.microbatch 8", "to 0"],
  ),
  (
    MetaTrainConfig,
    {"rater_reference": SOME_RUN},
    ["rater_reference.run", "'some run'", "'network'", "'online'"],
  ),
  (LoraConfig, {"rank": 4}, ["lora.rank is 4", "lora.base.run ''", "both, or neither"]),
  (LoraConfig, {"base": SOME_RUN}, ["lora.rank is 0", "'some run'"]),
  (LoraConfig, {"projections": ()}, ["lora.projections", "()", "query"]),
  (LoraConfig, {"projections": ("key", "key")}, ["lora.projections", "'key', 'key'", "once"]),
  (
    MetaTrainConfig,
    {"lora": LoraConfig(rank=1, base=SOME_RUN), "inner_optimizer": OptimizerConfig(eps_root=0)},
    ["inner_optimizer.eps_root is 0", "NaN", "1e-12"],
  ),
  (MetaTrainConfig, {"rater_domains": ("a",)}, ["rater_domains", "('a',)", "'network'", "mixture"]),
  (SelectionConfig, {"kind": "rater"}, ["selection.rater", "empty", "rater folder"]),
  (DemoConfig, {"lm_seeds": (0,)}, ["DemoConfig.lm_seeds", "two seeds"]),
  (DemoConfig, {"train": TrainConfig(data=TARGET)}, ["meta_train.data", "train.data", "differ"]),
]
# Top-level configs with values other than the defaults, nested and in tuples.
TOP_LEVEL = [
  MetaTrainConfig(
    name="Ω",
    seed=7,
    data=DataConfig(
      target_domain="speeches",
      exclude_domains=("tables", "code"),
      noise_levels=(0.0, 0.1),
      tokenizer=TokenizerConfig(kind="huggingface", path="tokenizer.json"),
    ),
    inner=ModelConfig(dtype="bfloat16", remat=True),
    meta=MetaConfig(
      objective="target",
      learning_rate=1 / 3,
      eps=1e-12,
      estimator="evolution",
      outer_loss="error_rate",
      evolution_scale=0.05,
    ),
    mesh=MeshConfig(member=2, data=4),
  ),
  TrainConfig(
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.1),
    selection=SelectionConfig(kind="rater", mode="online", rater="runs/rater"),
    evaluation_split="validation",
  ),
  DemoConfig(lm_seeds=(3, 4)),
]


def refusal(cls, **fields) -> str:
  """The message with which `cls` refuses its fields."""
  with pytest.raises(InputError) as refused:
    cls(**fields)
  return str(refused.value)


# What is refused.


@pytest.mark.parametrize(
  ("cls", "name", "least"),
  [(cls, name, least) for cls, names in LEAST.items() for name, least in names.items()],
)
def test_a_number_below_the_least_is_refused(cls, name, least):
  if cls is not ModelConfig:  # whose width and heads must also fit each other
    assert getattr(cls(**{name: least}), name) == least
  for value in (least - 1, float("nan")):
    message = refusal(cls, **{name: value})
    assert message == f"{cls.__name__}.{name} is {value}; give a number of at least {least}"


@pytest.mark.parametrize(
  ("cls", "name"), [(cls, name) for cls, names in FRACTIONS.items() for name in names]
)
def test_a_fraction_is_at_least_0_and_below_1(cls, name):
  assert getattr(cls(**{name: 0.0}), name) == 0.0
  for value in (-0.1, 1.0, float("nan")):
    assert f"{cls.__name__}.{name} is {value}; give a number from 0" in refusal(
      cls, **{name: value}
    )


@pytest.mark.parametrize(
  ("cls", "name"), [(cls, name) for cls, names in POSITIVE.items() for name in names]
)
def test_a_number_that_is_not_above_0_is_refused(cls, name):
  assert getattr(cls(**{name: 1e-9}), name) == 1e-9
  for value in (0.0, -1.0, float("nan")):
    assert f"{cls.__name__}.{name} is {value}; give a number above 0" in refusal(
      cls, **{name: value}
    )


@pytest.mark.parametrize(("cls", "fields", "words"), REFUSED)
def test_what_does_not_fit_is_refused_in_words(cls, fields, words):
  message = refusal(cls, **fields)
  assert [word for word in words if word not in message] == []


def test_every_number_of_every_config_has_a_limit():
  classes = [*(c for c in LEAST), SelectionConfig, DemoConfig, TokenizerConfig]
  numbers = {
    (cls, name)
    for cls in classes
    for name, kind in typing.get_type_hints(cls).items()
    if kind in (int, float)
  }
  tested = {
    (cls, name)
    for table in (LEAST, FRACTIONS, POSITIVE)
    for cls, names in table.items()
    for name in names
  }
  assert numbers == tested


def test_a_config_cannot_be_changed():
  with pytest.raises(dataclasses.FrozenInstanceError):
    TrainConfig().steps = 3  # type: ignore[misc]


# JSON.


@pytest.mark.parametrize("config", TOP_LEVEL, ids=lambda config: type(config).__name__)
def test_json_round_trip(config):
  values = to_json(config)
  assert json.loads(json.dumps(values)) == values
  assert from_json(type(config), values) == config
  assert differences(values, to_json(type(config)())) != []


@pytest.mark.parametrize("cls", [MetaTrainConfig, TrainConfig, DemoConfig])
def test_fields_left_out_of_json_take_their_defaults(cls):
  assert from_json(cls, {}) == cls()


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ({"stepz": 3}, ["stepz"]),
    ({"data": {"lenght": 64}}, ["lenght", "data"]),
    ({"steps": "many"}, ["int", "steps"]),
    ({"steps": None}, ["int", "steps"]),
    ({"data": {"noise_levels": [0.5, "half"]}}, ["float", "data.noise_levels[1]"]),
    ({"optimizer": {"name": "lion"}}, ["lion", "adamw", "optimizer.name"]),
    ({"steps": 0}, ["TrainConfig.steps is 0", "at least 1"]),
    ({"optimizer": {"b1": 1.0}}, ["OptimizerConfig.b1 is 1.0", "optimizer"]),
    ({"stepz": 3, "data": {"length": "long"}}, ["stepz", "data.length"]),  # all at once
    ({"data": 3}, ["data"]),
    ({"steps": 1.5}, ["1.5", "int", "steps"]),
    ({"steps": True}, ["True", "int", "steps"]),
    ({"name": 3}, ["3", "str", "name"]),
    ({"data": {"noise_levels": "12"}}, ["data.noise_levels"]),
    ([], ["[]", "JSON object"]),
    (None, ["None", "JSON object"]),
  ],
)
def test_json_that_does_not_fit_is_refused_naming_the_place(values, words):
  with pytest.raises(InputError, match=r"^TrainConfig cannot be read: ") as refused:
    from_json(TrainConfig, values)
  assert [word for word in words if word not in str(refused.value)] == []


def test_differences_names_each_leaf_that_changed():
  old = to_json(TrainConfig())
  assert differences(old, old) == []
  new = to_json(TrainConfig(steps=7, data=DataConfig(noise_levels=(0.5,), text_key="body")))
  assert differences(old, new) == [
    "data.noise_levels: [] -> [0.5]",
    "data.text_key: 'text' -> 'body'",
    "steps: 1000 -> 7",
  ]


def test_differences_names_what_one_side_lacks():
  assert differences({"a": 1, "b": {"c": 2}}, {"b": 3, "d": 4}) == [
    "a: 1 -> None",
    "b: {'c': 2} -> 3",
    "d: None -> 4",
  ]


# Config files.


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_repository_loads_and_survives_json(path):
  config = load_config_file(path, object)
  assert type(config) in (MetaTrainConfig, TrainConfig, DemoConfig)
  assert from_json(type(config), to_json(config)) == config


@pytest.mark.parametrize(
  ("source", "words"),
  [
    ("config = 3", ["fails", "not callable"]),
    ("", ["defines no config()", "configs/tiny.py"]),
    ("def config(", ["fails", "SyntaxError"]),
    ("import nowhere_to_be_found", ["fails", "ModuleNotFoundError", "nowhere_to_be_found"]),
    ("def config():\n  return dict(steps=1)", ["returns a dict", "needs a TrainConfig"]),
    (
      "from datarater.config import TrainConfig\ndef config():\n  return TrainConfig(stepz=1)",
      ["fails", "stepz"],
    ),
  ],
)
def test_a_config_file_that_does_not_work_is_named_with_the_reason(source, words, tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(source)
  with pytest.raises(InputError) as refused:
    load_config_file(path, TrainConfig)
  assert [word for word in [str(path), *words] if word not in str(refused.value)] == []


@pytest.mark.parametrize(
  "source",
  [
    "from datarater.config import TrainConfig\nmade = TrainConfig(steps=0)",
    "from datarater.config import TrainConfig\ndef config():\n  return TrainConfig(steps=0)",
  ],
  ids=["at import", "in config()"],
)
def test_a_config_files_own_bad_value_is_told_as_it_is(source, tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(source)
  with pytest.raises(InputError, match=r"^TrainConfig\.steps is 0; give a number of at least 1$"):
    load_config_file(path, TrainConfig)


def test_a_config_file_that_is_not_there_or_not_python_is_named(tmp_path):
  with pytest.raises(InputError, match=r"'no/such\.py' does not exist; give the path"):
    load_config_file("no/such.py", TrainConfig)
  with pytest.raises(InputError, match="does not exist"):
    load_config_file(tmp_path, TrainConfig)
  (tmp_path / "config.yaml").write_text("steps: 3")
  with pytest.raises(InputError, match=r"config\.yaml' is not Python; give a \.py file"):
    load_config_file(tmp_path / "config.yaml", TrainConfig)
