"""What a recorder keeps of several envs."""

import torch
from tensordict import TensorDict

from dreamer_plugin.run.recording import Recorder


def record(step, firsts):
    """One record of each env; `obs` says which step and env it is of."""
    count = len(firsts)
    number = torch.arange(count) + 10.0 * step
    flags = torch.tensor(firsts)
    keys = ("action", "reward", "is_last", "is_terminal", "deter")
    data = {"obs": TensorDict({"number": number}, [count]), "is_first": flags}
    return TensorDict(data | dict.fromkeys(keys, number), [count])


def played(recorder):
    # Env 0 plays episodes of 3 and 4 records, env 1 one of 7.
    for step in range(7):
        recorder.extend(record(step, [step in (0, 3), step == 0]))
    return [episode["obs", "number"].tolist() for episode in recorder.episodes()]


def test_episodes_in_the_order_of_the_envs():
    first, second = [0.0, 10, 20], [30.0, 40, 50, 60]
    assert played(Recorder(100)) == [first, second, [1.0, 11, 21, 31, 41, 51, 61]]


def test_the_same_number_of_each_env_and_a_film_of_the_first():
    assert played(Recorder(4)) == [[0, 10], [1, 11]]
    recorder = Recorder(4, film=5)  # which is not among what is counted
    assert played(recorder) == [[0, 10], [1, 11]]
    assert recorder.filmed()["obs", "number"].tolist() == [0, 10, 20]


def test_latents_are_not_kept():
    recorder = Recorder(4)
    assert recorder.episodes() == []
    recorder.extend(record(0, [True]))
    assert "deter" not in recorder.episodes()[0].keys()


def test_envs_that_are_down_mix_nothing_up():
    """Env 0 is away from step 2 to 4, and nothing at all arrives at step 3."""
    recorder, whole = Recorder(100), [record(step, [step == 0] * 2) for step in range(6)]
    for step, both in enumerate(whole):
        if step in (2, 3, 4):
            both["env"] = torch.arange(2)
            recorder.extend(both[1:] if step != 3 else both[:0])
        else:
            recorder.extend(both)
    found = [episode["obs", "number"].tolist() for episode in recorder.episodes()]
    assert found == [[0.0, 10, 50], [1.0, 11, 21, 41, 51]]
