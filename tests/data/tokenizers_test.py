"""Every tokenizer gives its text back, keeps the separator to itself, and says what is wrong."""

import builtins
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st

from datarater.data.tokenizers import ByteTokenizer, load_tokenizer
from datarater.data_config import TokenizerConfig
from datarater.errors import InputError

TEXT = "the cat sat on the mat; naïve café 漢字 🙂\n\tend"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
  """Holds a tiny tokenizer.json and a tiny tokenizer.model."""
  folder = tmp_path_factory.mktemp("tokenizers")
  bpe = hf.Tokenizer(hf.models.BPE())
  bpe.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
  bpe.decoder = hf.decoders.ByteLevel()
  trainer = hf.trainers.BpeTrainer(
    vocab_size=300, initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
  )
  bpe.train_from_iterator([TEXT] * 20, trainer)
  bpe.add_special_tokens(["<s>"])
  bpe.post_processor = hf.processors.TemplateProcessing(
    single="<s> $A", special_tokens=[("<s>", bpe.token_to_id("<s>"))]
  )
  bpe.enable_truncation(5)
  bpe.enable_padding(length=50)
  bpe.save(str(folder / "tokenizer.json"))
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([TEXT] * 20),
    model_writer=model,
    vocab_size=300,
    hard_vocab_limit=False,
    byte_fallback=True,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    add_dummy_prefix=False,
    minloglevel=2,
  )
  (folder / "tokenizer.model").write_bytes(model.getvalue())
  return folder


FILES = {"huggingface": "tokenizer.json", "sentencepiece": "tokenizer.model"}


def config(kind: str, folder: Path) -> TokenizerConfig:
  return TokenizerConfig(kind, str(folder / FILES[kind]) if kind in FILES else "")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bytes", *FILES])
def test_round_trip_save_pickle_and_fingerprint(kind, folder, tmp_path):
  tokenizer = load_tokenizer(config(kind, folder))
  ids = tokenizer.encode(TEXT)
  assert ids.dtype == np.int32
  assert tokenizer.decode(ids) == TEXT
  assert tokenizer.encode("").shape == (0,)
  assert ids.max() < tokenizer.separator_id == tokenizer.vocab_size - 1
  assert tokenizer.decode(np.append(ids, tokenizer.separator_id)) == TEXT
  tokenizer.save(tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ([FILES[kind]] if kind in FILES else [])
  for again in (load_tokenizer(config(kind, tmp_path)), pickle.loads(pickle.dumps(tokenizer))):
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode(TEXT).tolist() == ids.tolist()
    assert again.vocab_size == tokenizer.vocab_size


def test_fingerprints_differ_by_kind_and_content(folder, tmp_path):
  prints = {load_tokenizer(config(kind, folder)).fingerprint for kind in ["bytes", *FILES]}
  other = (folder / "tokenizer.json").read_text().replace('"length": 50', '"length": 51')
  (tmp_path / "tokenizer.json").write_text(other + " ")
  prints.add(load_tokenizer(config("huggingface", tmp_path)).fingerprint)
  assert len(prints) == 4


def test_hugging_face_adds_truncates_and_pads_nothing(folder):
  tokenizer = load_tokenizer(config("huggingface", folder))
  raw = hf.Tokenizer.from_file(str(folder / "tokenizer.json"))
  assert raw.encode("the cat").ids[0] == raw.token_to_id("<s>"), "the file itself would add it"
  ids = tokenizer.encode("the cat sat on the mat and more")
  assert raw.token_to_id("<s>") not in ids
  assert len(ids) != 50
  assert tokenizer.separator_id == 1 + max(raw.get_vocab().values())


def test_sentencepiece_adds_nothing(folder):
  tokenizer = load_tokenizer(config("sentencepiece", folder))
  processor = sentencepiece.SentencePieceProcessor()
  processor.Load(str(folder / "tokenizer.model"))
  assert tokenizer.separator_id == processor.GetPieceSize()
  assert not {processor.bos_id(), processor.eos_id()} & set(tokenizer.encode(TEXT).tolist())


@given(st.text())
def test_bytes_are_utf8(text):
  tokenizer = ByteTokenizer()
  clean = text.encode("utf-8", "replace")
  assert tokenizer.encode(text).tolist() == list(clean)
  assert tokenizer.decode(tokenizer.encode(text)) == clean.decode()
  assert (tokenizer.vocab_size, tokenizer.separator_id) == (257, 256)


@pytest.mark.parametrize("kind", ["bytes", *FILES])
def test_lone_surrogates_and_broken_pieces_do_not_fail(kind, folder):
  tokenizer = load_tokenizer(config(kind, folder))
  assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a?b"
  assert "�" in ByteTokenizer().decode(np.array([0xC3, 0x28]))


@pytest.mark.parametrize("kind", FILES)
def test_errors_name_the_file_and_the_extra(kind, folder, tmp_path, monkeypatch):
  with pytest.raises(InputError, match=r"nothing\.here.*does not exist"):
    load_tokenizer(TokenizerConfig(kind, "nothing.here"))
  (tmp_path / "bad").write_text("not a tokenizer")
  with pytest.raises(InputError, match=r"bad.*this is no"):
    load_tokenizer(TokenizerConfig(kind, str(tmp_path / "bad")))
  importing = builtins.__import__

  def without(name, *args, **kwargs):
    if name in ("tokenizers", "sentencepiece"):
      raise ImportError(name)
    return importing(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", without)
  with pytest.raises(InputError, match=r"pip install 'datarater\[tokenizers\]'"):
    load_tokenizer(config(kind, folder))
