"""A directory with a tiny random model and a tokenizer that knows letters, as the command line takes them."""

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from tests.connectors.hf.tiny import tiny_model

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,;:?!'\n0123456789"


def save_tiny_model(path, kind="llama"):
    """Writes it there; every letter is a token."""
    tiny_model(kind).save_pretrained(path)
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    vocabulary |= {letter: number for number, letter in enumerate(_LETTERS, start=len(vocabulary))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(path)
    return path
