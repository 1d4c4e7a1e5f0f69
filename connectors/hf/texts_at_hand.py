"""Texts to calibrate on that every machine with this project has: documentation, source code, read-mes.

None of them is the document that ships with the project: what is measured on that is measured on new text.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import shutil
import subprocess
import tarfile
import textwrap
import typing
from importlib.metadata import metadata
from pydoc_data.topics import topics

_MODULES = (argparse, dataclasses, difflib, shutil, subprocess, tarfile, textwrap, typing)
_PACKAGES = ("torch", "transformers", "typer", "rich", "huggingface_hub", "numpy", "tokenizers", "zstandard")
_LEAST_CHARACTERS = 6000


def texts_at_hand() -> list[list[str]]:
    """Texts of three kinds: the Python language reference, modules of its library, packages' descriptions."""
    reference = [str(text) for text in topics.values()]
    sources = [inspect.getsource(module) for module in _MODULES]
    descriptions = [str(metadata(package).json.get("description", "")) for package in _PACKAGES]
    return [[text for text in kind if len(text) >= _LEAST_CHARACTERS] for kind in (reference, sources, descriptions)]
