"""Tokenizers behind one interface: bytes, Hugging Face `tokenizers`, SentencePiece.

The separator, which stands before each segment and ends each document, is for all of them one id
more than the tokenizer has of its own: nothing about its special tokens need be guessed, and no
text ever contains it. No other special token is added.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from datarater.data_config import TokenizerConfig
from datarater.errors import InputError, require

INSTALL = "pip install 'datarater[tokenizers]'"


class Tokenizer(Protocol):
  """vocab_size: the tokenizer's own ids and the separator. separator_id: the last of them."""

  @property
  def kind(self) -> Literal["bytes", "huggingface", "sentencepiece"]:
    """Of `TokenizerConfig`."""
    ...

  @property
  def file_name(self) -> str:
    """Name of the file that `save` writes; empty where there is none."""
    ...

  @property
  def vocab_size(self) -> int: ...

  @property
  def separator_id(self) -> int: ...

  @property
  def fingerprint(self) -> str:
    """sha256 of kind and file, in hexadecimal: equal where the same text gives the same ids."""
    ...

  def encode(self, text: str) -> np.ndarray:
    """int32 ids of a text, without a separator."""
    ...

  def decode(self, ids: np.ndarray) -> str:
    """Text of ids; separators are left out."""
    ...

  def save(self, folder: Path) -> None:
    """Writes the tokenizer's file into an existing folder, where it has one."""
    ...


class _FileTokenizer:
  """What all share. content: of the tokenizer's file, None for bytes. own: ids less separator."""

  kind: Any = ""
  file_name = ""

  def __init__(self, content: bytes | None, own: int):
    self._content = content
    self.separator_id = own
    self.vocab_size = own + 1
    self.fingerprint = hashlib.sha256(self.kind.encode() + b"\0" + (content or b"")).hexdigest()

  def save(self, folder: Path) -> None:
    if self._content is not None:
      (Path(folder) / self.file_name).write_bytes(self._content)

  def _own_ids(self, ids: Any) -> list[int]:
    ids = np.asarray(ids, np.int64)
    return ids[ids != self.separator_id].tolist()


class ByteTokenizer(_FileTokenizer):
  """UTF-8 bytes as ids 0 to 255. Pieces of broken UTF-8 decode to replacement characters."""

  kind = "bytes"

  def __init__(self) -> None:
    super().__init__(None, 256)

  def encode(self, text: str) -> np.ndarray:
    # A lone surrogate has no UTF-8; `?` stands for it here as in prepared datasets.
    return np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int32)

  def decode(self, ids: np.ndarray) -> str:
    return bytes(self._own_ids(ids)).decode("utf-8", "replace")


class HuggingFaceTokenizer(_FileTokenizer):
  """A `tokenizer.json` of the package `tokenizers`; its truncation and padding are switched off."""

  kind = "huggingface"
  file_name = "tokenizer.json"

  def __init__(self, content: bytes):
    try:
      import tokenizers
    except ImportError as error:
      raise InputError(
        f"tokenizer kind {self.kind!r} needs the package tokenizers: {INSTALL}"
      ) from error
    try:
      self._tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:
      raise InputError(f"this is no tokenizer.json: {error}; give a file of that format") from error
    self._tokenizer.no_truncation()
    self._tokenizer.no_padding()
    # Ids may have gaps (added tokens), so the count of tokens can fall short of the largest id.
    own = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    super().__init__(content, own)

  def encode(self, text: str) -> np.ndarray:
    clean = text.encode("utf-8", "replace").decode()
    return np.array(self._tokenizer.encode(clean, add_special_tokens=False).ids, np.int32)

  def decode(self, ids: np.ndarray) -> str:
    return self._tokenizer.decode(self._own_ids(ids), skip_special_tokens=False)


class SentencePieceTokenizer(_FileTokenizer):
  """A `.model` of the package `sentencepiece`, without BOS and EOS."""

  kind = "sentencepiece"
  file_name = "tokenizer.model"

  def __init__(self, content: bytes):
    try:
      import sentencepiece
    except ImportError as error:
      raise InputError(
        f"tokenizer kind {self.kind!r} needs the package sentencepiece: {INSTALL}"
      ) from error
    self._processor = sentencepiece.SentencePieceProcessor()
    try:
      self._processor.LoadFromSerializedProto(content)
    except Exception as error:
      raise InputError(f"this is no SentencePiece model: {error}; give a .model file") from error
    super().__init__(content, self._processor.GetPieceSize())

  def encode(self, text: str) -> np.ndarray:
    clean = text.encode("utf-8", "replace").decode()
    return np.array(self._processor.EncodeAsIds(clean), np.int32)

  def decode(self, ids: np.ndarray) -> str:
    return self._processor.DecodeIds(self._own_ids(ids))

  def __reduce__(self) -> Any:
    return SentencePieceTokenizer, (self._content,)


def load_tokenizer(config: TokenizerConfig) -> Tokenizer:
  """The tokenizer of a config. InputError: no such file, not its format, its package is missing."""
  if config.kind == "bytes":
    return ByteTokenizer()
  path = Path(config.path).expanduser()
  require(
    path.is_file(),
    f"tokenizer file {config.path!r} does not exist; train or fetch a {config.kind} tokenizer and "
    "give its file as data.tokenizer.path",
  )
  kinds = {"huggingface": HuggingFaceTokenizer, "sentencepiece": SentencePieceTokenizer}
  try:
    return kinds[config.kind](path.read_bytes())
  except InputError as error:
    raise InputError(f"tokenizer file {config.path!r}: {error}") from error
