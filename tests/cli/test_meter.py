"""How far a command is: bars on a terminal, few lines elsewhere, nothing on stdout."""

import io

import pytest
from rich.console import Console

from dreamer_plugin.doors.cli_meter import Bars, Lines, metered
from dreamer_plugin.run.telling import heard_by, part_of, tell
from tests.cli.calling import call


def screen(**options):
    return Console(file=io.StringIO(), width=100, **options)


def lines_of(seconds, total):
    """What is said of work that makes one step a second, `total` in all."""
    now, console = [0.0], screen()
    lines = Lines(console, lambda: now[0])
    for second in range(seconds):
        now[0] = second
        lines.tell("episodes", second, total)
    return console.file.getvalue()


def test_nobody_listens_unless_a_door_does():
    tell("episodes", 1, 2)  # as a program that uses the library does


def test_lines_come_seldom_and_tell_when_it_is_done():
    # The first after 15 s, the next ones after 30 and 60 more; a step a second is left.
    assert lines_of(101, 200).splitlines() == [
        "episodes  15/200 | ETA 0:03:05",
        "episodes  45/200 | ETA 0:02:35",
    ]


def test_short_work_says_nothing():
    assert lines_of(6, 5) == ""


def test_a_bar_on_a_terminal():
    console = screen(force_terminal=True)
    with Bars(console) as bars:
        bars.tell("episodes", 3, 20)
        bars.tell("drawing", 0, 0)
        bars._bar.refresh()
        text = console.file.getvalue()
        assert "episodes" in text and "3/20" in text and "ETA" in text and "drawing" in text
        bars.tell("episodes", 20, 20)
        assert list(bars._tasks) == ["drawing"]


def test_a_part_moves_the_whole():
    heard = []
    with heard_by(lambda *told: heard.append(told)), part_of("trainings", 1, 4, "ppo-s0"):
        tell("ppo-s0", 25, 50)
        tell("episodes", 1, 10)
    assert heard == [("trainings", 1.5, 4), ("ppo-s0", 25, 50), ("episodes", 1, 10)]


@pytest.mark.parametrize("words", [["evaluate", "--episodes", 2, "--json"], ["doctor"], ["report"]])
def test_commands_are_heard_on_stderr(words, monkeypatch, tmp_path):
    """On a terminal; what they print stays clean."""
    heard = []
    monkeypatch.setattr(Lines, "tell", lambda self, *told: heard.append(told))
    out = ["--out", tmp_path / "page.html"] if words[0] == "report" else []
    result = call(words[0], "pretrained/pendulum", *words[1:], *out)
    assert ("episodes", 2, 2) in heard or ("episodes", 3, 3) in heard
    assert "ETA" not in result.stdout


def test_it_goes_to_stderr(capsys):
    with metered():
        tell("episodes", 1, 2)
    assert capsys.readouterr().out == ""
