"""Writes a llama model of 300 KB with random weights: enough for a real server to stream real tokens.

The vocabulary has a token for each of the 256 bytes (its id is the byte), three control tokens, and the two markers
that enclose a tool call in the chat template. The output is noise unless a grammar constrains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

END_OF_TURN: Final = 257
"""Token id of ``<|im_end|>``."""

CALL_OPENS: Final = 259
"""Token id of ``<tool_call>``."""

CONTEXT_LENGTH: Final = 4096  # tokens of one byte each

_CONTROL_TOKENS: Final = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_MARKERS: Final = ("<tool_call>\n", "</tool_call>")
_END_OF_TEXT: Final = 258

_WIDTH: Final = 64
_HEADS: Final = 4
_FEED_FORWARD: Final = 128


def write_tiny_model(path: str | Path) -> None:
    """Write the model to ``path`` in GGUF format, the same bytes each time.

    Raises ImportError if `gguf` or `numpy` is missing, OSError if the file cannot be written.
    """
    import gguf
    import numpy as np

    vocabulary = [*_byte_tokens(), *_CONTROL_TOKENS, *_MARKERS]
    kinds = gguf.TokenType
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_block_count(1)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types(
        [kinds.NORMAL] * 256 + [kinds.CONTROL] * len(_CONTROL_TOKENS) + [kinds.USER_DEFINED] * len(_MARKERS)
    )
    writer.add_token_merges(["t h"])  # at least one is required
    writer.add_bos_token_id(_END_OF_TEXT)
    writer.add_eos_token_id(END_OF_TURN)
    writer.add_add_bos_token(value=False)

    random = np.random.default_rng(0)
    square = (_WIDTH, _WIDTH)
    shapes = {
        "token_embd": (len(vocabulary), _WIDTH),
        "output": (len(vocabulary), _WIDTH),
        "blk.0.attn_q": square,
        "blk.0.attn_k": square,
        "blk.0.attn_v": square,
        "blk.0.attn_output": square,
        "blk.0.ffn_gate": (_FEED_FORWARD, _WIDTH),
        "blk.0.ffn_up": (_FEED_FORWARD, _WIDTH),
        "blk.0.ffn_down": (_WIDTH, _FEED_FORWARD),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape) * 0.05).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _byte_tokens() -> list[str]:
    """The 256 bytes as GPT-2's tokenizer spells them: printable ones as they are, the others from U+0100 on."""
    ranges = (("!", "~"), ("¡", "¬"), ("®", "ÿ"))
    printable = {byte for first, last in ranges for byte in range(ord(first), ord(last) + 1)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + hidden.index(byte)) for byte in range(256)]
