"""What a person sees: a table on a terminal, whole lines elsewhere."""

import io
import re

from rich.console import Console

from dreamer_plugin.run.display import Display, Pace, Progress, Speed
from dreamer_plugin.run.loop import train


def progress(**values):
    base = {"env": "toy/catch", "steps": 100, "action_repeat": 4, "prefill": 10, "capacity": 50}
    return Progress(**base | values)


def shown(p, terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    with Display(p, console, refresh=0, interval=0) as display:
        display.tick(lambda: None)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())


def test_a_line_has_every_counter():
    p = progress(step=40, updates=3, windows=30, losses={"dyn": 1.25}, evaluation="eval 2")
    p.returns.extend([1.0, 2.0])
    text = shown(p, terminal=False)
    for part in ("step 40/100 (160 frames)", "updates 3", "return 1.50", "replay 30/50"):
        assert part in text
    assert "dyn 1.25" in text and "eval 2" in text and "prefill" not in text
    assert "\x1b" not in text


def test_prefill_is_shown_until_the_first_update():
    p = progress(step=12, windows=4)
    assert "prefill 4/10 windows" in shown(p, terminal=False)
    assert "fills its replay" in shown(p, terminal=True)
    p.updates = 1
    assert "prefill" not in shown(p, terminal=False)


def test_a_terminal_gets_one_live_table():
    p = progress(step=40, updates=3, windows=30, losses={"dyn": 1.25})
    text = shown(p, terminal=True)
    for part in ("toy/catch", "━", "steps/s", "ETA", "40/100 (160 frames)", "dyn 1.25"):
        assert part in text


def test_speed_is_over_the_recent_past():
    speed = Speed(span=10)
    assert speed.rates() == (0.0, 0.0)
    for now in range(0, 31):
        speed.mark(float(now), step=now * (1 if now < 20 else 3), updates=now)
    # Between 20 s (step 60) and 30 s (step 90).
    assert speed.rates() == (3.0, 1.0)


def test_the_rest_is_foretold_by_steps_after_the_first_update():
    pace = Pace(span=100)
    for now in range(10):
        pace.mark(float(now), step=100 * now, updates=0)
    assert pace.left(60) is None  # a replay that fills says nothing of learning
    pace.mark(10.0, step=1000, updates=1)
    assert pace.left(60) is None
    pace.mark(20.0, step=1030, updates=10)
    assert pace.left(60) == 20.0  # 3 steps/s
    pace.mark(110.0, step=1100, updates=30)
    assert pace.left(50) == 50.0  # 100 steps in 100 s: a slow moment does not throw it far
    resumed = Pace()
    for now in (0.0, 2.0):
        resumed.mark(now, step=int(1000 + now), updates=500)
    assert resumed.left(7) == 7.0


def test_losses_show_before_the_first_row_is_logged(tiny):
    out = io.StringIO()
    seen = []
    train(
        tiny(**{"run.log_every": 1000}),
        console=Console(file=out, force_terminal=True, width=120),
        callbacks=[lambda training: seen.append(dict(training.progress.losses))],
    )
    assert seen[0] == {} and seen[-1].keys() >= {"reward", "dyn", "policy"}
