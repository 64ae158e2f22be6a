"""What a run is made on is written beside it."""

import torch

from dreamer_plugin.run.machine import note_machine, read_machines


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
