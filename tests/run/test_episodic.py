"""Runs as those of older agents: pieces of episodes, updates in bursts, a random prefill."""

import numpy as np
import pytest

from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.display import Display
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.replay import replay_needs, replay_text

from .test_replay import SIZES, SPACES
from .test_resume import interrupted_copy, rows_of, tensors_of

OLD = {
    "replay.sampling": "episodes",
    "replay.prioritize_ends": True,
    "replay.context": 0,
    "replay.online": False,
    "run.burst": 4,
    "run.pretrain": 2,
    "run.random_prefill": True,
}


def test_it_waits_for_episodes_and_updates_in_bursts(tiny, quiet):
    seen, acted = [], []

    def look(training):
        progress = training.progress
        seen.append((training.step, progress.windows, progress.updates))
        acted.append(training.parts.collector.policy._until())

    result = train(tiny("toy/recall", **OLD), console=quiet, callbacks=[look])
    # A recall episode has 10 records, so 3 pieces of 8; each env ends one at every tenth.
    assert [(step, windows) for step, windows, _ in seen if step % 20 == 0] == [
        (20, 6), (40, 12), (60, 18), (80, 24)
    ]  # fmt: skip
    # 12 are there at step 40: one update, two of pretraining. Then 4/16 per agent step, by fours.
    expected = {step: 3 + (step - 40) // 16 * 4 for step in range(40, 81, 2)}
    assert {step: updates for step, _, updates in seen if updates} == expected
    assert result.updates == 11
    # What is decided after that step is the agent's own.
    assert acted == [step >= 40 for step, _, _ in seen]
    text = quiet.export_text()
    assert "500 records of episodes, in pieces of 8, " in text


@pytest.mark.parametrize("step", [20, 60])
def test_a_resumed_run_is_bit_equal(tiny, quiet, tmp_path, step):
    """From the random prefill, and from between two bursts."""
    options = {"run.save_every": 20, "run.keep": 9, **OLD}
    whole = train(tiny("gym/CartPole-v1", name="whole", **options), console=quiet).run_dir
    part = interrupted_copy(whole, step, tmp_path / "part")
    train(tiny("gym/CartPole-v1", name="part", **options), resume=part, console=quiet)
    assert f"step-{step:09d} exactly" in quiet.export_text()
    last = "checkpoints/step-000000080"
    assert tensors_of(part / last) == tensors_of(whole / last)
    assert rows_of(part) == rows_of(whole)
    assert checkpoint.verify(whole / last)["updates"] > 3


def test_a_run_of_short_episodes_ends_and_says_what_it_waited_for(tiny, quiet):
    lines = []

    def look(training):
        lines.append(Display(training.progress, quiet)._line())

    cfg = tiny("toy/recall", **OLD | {"replay.batch_length": 10})
    result = train(cfg, console=quiet, callbacks=[look])
    assert (result.steps, result.updates) == (80, 0)
    assert "prefill 0/12 starts" in lines[-1]
    told = quiet.export_text()
    assert "episodes of more than 10 records (12 places to start in them)" in told


def test_a_small_replay_keeps_an_episode_and_the_run_goes_on(tiny, quiet):
    counts = []
    options = OLD | {"replay.capacity": 30, "run.prefill": 3, "run.train_ratio": 16}
    cfg = tiny("toy/recall", **options)
    result = train(cfg, console=quiet, callbacks=[lambda t: counts.append(t.progress.windows)])
    assert max(counts) <= 9 and min(counts[10:]) >= 3
    assert result.updates == 3 + (80 - 20) // 4 * 4


def test_the_published_agent_says_what_else_must_be_set(tiny, quiet):
    with pytest.raises(UsageError, match="replay.context=0, got 1"):
        train(tiny(**{"replay.sampling": "episodes"}), console=quiet)


def test_the_size_that_is_told_is_that_of_records(tiny):
    cfg = tiny(**{"replay.capacity": 100_000, "replay.batch_length": 50}, **OLD)
    need = replay_needs(cfg, SPACES, 1, **SIZES)
    # 17 bytes of latents and 27 of a record (12 + 8 + 4 + 3), 16 for every 51; two segments.
    expected = (100_000 + 2 * 1024) * np.array([17, 27])
    assert need["latents"] == expected[0]
    assert need["records"] == expected[1] + 16 * (100_000 // 51 + 1)
    assert "100,000 records of episodes, in pieces of 50, 4.5 MB" in replay_text(cfg, need)
