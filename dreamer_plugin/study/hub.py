"""Runs on the Hugging Face hub: `hf://user/name`, or `hf://user/name@REVISION` to read.

The client is `huggingface_hub` (extra `hub`), which finds its own token and, in `HF_ENDPOINT`, its
server. Only files that the list of a shared run names are fetched.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run.machine import FILE as MACHINES
from dreamer_plugin.run.metrics import JSONL
from dreamer_plugin.run.shared import EVALUATION

SCHEME = "hf://"
SERVER = "HF_ENDPOINT"  # the client reads it when it is imported, we when we ask
EXTRA = "pip install 'dreamer-plugin[hub]'"
# Of an earlier push: a shared run holds one checkpoint, and what this one lacks would not be of it.
REPLACED = ["checkpoints/**", EVALUATION, JSONL, MACHINES]
_PLACE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95})(?:@([A-Za-z0-9._/-]{1,100}))?"
)


def is_place(text: str) -> bool:
    """Whether a text is meant as a place on the hub, however it is spelt."""
    return re.match(r"hf:|\w+://", text) is not None


def parse(text: str) -> tuple[str, str | None]:
    """Repository and revision of `hf://user/name@revision`.

    Raises:
        UsageError: it is none, or the client is missing.
    """
    match = _PLACE.fullmatch(text.removeprefix(SCHEME))
    if match is None:
        raise UsageError(f"{text} is no place on the hub: write {SCHEME}user/name.")
    if find_spec("huggingface_hub") is None:
        raise UsageError(f"The hub needs the package huggingface_hub: {EXTRA}")
    return match[1], match[2]


def upload(folder: Path, place: str, private: bool) -> str:
    """Make the repository if needed, and put a folder there in one commit.

    Returns:
        The address of the commit.

    Raises:
        UsageError: what the hub says, in one line.
    """
    repository, revision = parse(place)
    if revision is not None:
        raise UsageError(f"A push goes to the newest: leave out @{revision}.")
    from huggingface_hub import HfApi

    try:
        api = HfApi(endpoint=os.environ.get(SERVER), library_name="dreamer-plugin")
        api.create_repo(repository, private=private, exist_ok=True)
        made = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Push a run with dreamer-plugin",
            delete_patterns=REPLACED,
        )
    except Exception as error:  # its client has other errors with every version
        raise UsageError(f"The hub did not take {place}: {_line(error)}") from error
    return str(made.commit_url)


def fetcher(place: str) -> Callable[[str, Path], None]:
    """What copies one file of a repository to a path; errors as `CheckpointError`."""
    repository, revision = parse(place)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    def fetch(name: str, target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as cache:
            try:
                found = hf_hub_download(
                    repository,
                    name,
                    revision=revision,
                    local_dir=cache,
                    endpoint=os.environ.get(SERVER),
                    library_name="dreamer-plugin",
                )
            except (HfHubHTTPError, OSError, ValueError) as error:
                raise CheckpointError(f"Cannot fetch {name} of {place}: {_line(error)}") from error
            shutil.move(found, target)

    return fetch


def _line(error: Exception) -> str:
    """The first line of what went wrong that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
