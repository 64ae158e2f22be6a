"""What a run is made on is written beside it."""

import shutil
import subprocess

import pytest
import torch

from dreamer_plugin.run.machine import commit, note_machine, read_machines


def test_each_beginning_is_a_line(tmp_path):
    assert read_machines(tmp_path) == []
    note_machine(tmp_path, torch.device("cpu"), 0)
    note_machine(tmp_path, torch.device("cpu"), 40)
    with (tmp_path / "machine.jsonl").open("a") as file:
        file.write('{"step": 80, "tor')  # a kill
    lines = read_machines(tmp_path)
    assert [line["step"] for line in lines] == [0, 40]
    assert lines[0]["torch"] == torch.__version__ and lines[0]["device"]


def test_training_writes_it(finished):
    lines = read_machines(finished)
    assert lines[0]["step"] == 0 and "gymnasium" in lines[0]


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
def test_the_commit_is_that_of_the_checkout_that_tracks_a_file(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("1\n")
    assert commit(file) == ""  # of no checkout

    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "b.py").write_text("2\n")
    git("add", "a.py")
    git("commit", "-qm", "one")
    assert commit(file) == git("rev-parse", "HEAD")[:12]
    assert commit(tmp_path / "b.py") == ""  # there, but not tracked
    file.write_text("3\n")
    assert commit(file).endswith("+")
