"""A page of runs, and two runs beside each other."""

import io
import json
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image
from rich.console import Console

import dreamer_envs
from dreamer_plugin.config import compose, save_config
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.loop import train
from dreamer_plugin.study.difference import difference
from dreamer_plugin.study.doctor import examine
from dreamer_plugin.study.published_curves import curves, published
from dreamer_plugin.study.report import report
from dreamer_plugin.study.run_record import read_run, read_runs, running_mean


@pytest.fixture(scope="module")
def catch(repo, tmp_path_factory):
    """A run of toy/catch, which shows an image, long enough to log twice."""
    folder = tmp_path_factory.mktemp("report") / "run"
    options = {"run.steps": 64, "run.logdir": str(folder), "model.depth": 2}
    cfg = compose("toy/catch", config=[repo / "tests/run/tiny.yaml"], options=options).config
    train(cfg, console=Console(file=io.StringIO()))
    return folder


def written(folder, env, returns, seed=0, **options):
    """A run that was never made: its settings, and a row per episode and every second one a log."""
    folder.mkdir(parents=True)
    save_config(compose(env, options={"seed": seed, **options}).config, folder / "config.yaml")
    rows = []
    for i, value in enumerate(returns, 1):
        axes = {"step": 100 * i, "seconds": 2.0 * i, "frames": 200 * i, "updates": 10 * i}
        rows.append(axes | {"env": 0, "episode/return": value, "episode/length": 100})
        rows.append(axes | {"loss/dyn": 1 / i, "kl": None if i == 2 else 1.0, "grad_norm/all": 3.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.headings, self.text, self._in = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in = tag
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)
        if self._in == "h2":
            self.headings.append(data)
            self._in = ""


def test_a_page_has_everything_inside(catch):
    text = report([catch], episodes=2)
    page = Page(text)
    assert page.headings == [
        "Runs",
        "Returns",
        "Losses",
        "Latents",
        "Behavior",
        "Gradient norms",
        "Throughput",
        "World model of run",
        "Settings",
        "Versions and hardware",
    ]
    assert not {"script", "link", "iframe"} & set(page.tags)
    # One film: toy/catch shows an image of 64 pixels, enlarged to 256, four beside each other.
    (film,) = page.sources
    assert film.startswith("data:image/gif;base64,R0lGODlhAAQAA")  # GIF89a, 0x0400 wide, 0x01..
    assert "image: real | reconstructed | imagined | error" in page.text
    assert {"loss/dyn", "grad_norm/all", "open loop: image/mse", "use of classes"} <= set(page.text)
    assert "default-src 'none'" in text


def test_runs_are_overlaid_with_what_was_published(tmp_path):
    runs = [
        written(tmp_path / name, "dmc/walker-walk", [10.0 * i for i in range(30)], seed)
        for seed, name in enumerate(("a", "b<"))
    ]
    page = Page(report(runs, episodes=0))
    assert "published, dmc_proprio, 5 seeds" in page.text
    assert page.text.count("b<") >= 3 and "Not noted by a, b<." in page.text
    different = page.text[page.text.index("what differs") :]
    assert "seed" in different[:12] and "agent steps per second" in page.text
    assert "World model of a" not in page.headings


def test_rows_of_other_programs_are_shown_where_they_have_a_step(tmp_path):
    run = written(tmp_path / "a", "toy/catch", [1.0] * 12)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 1300, "my/score": 0.5, "loss/mine": 1.0}) + "\n")
    record = read_run(run)
    assert record.series("my/score") == ([1300.0], [0.5])
    assert record.series("my/score", "seconds") == ([], [])
    assert record.summary()["agent steps"] == 1200 and record.summary()["hours"] == 24 / 3600
    assert any("loss/mine" in text for text in Page(report([run], episodes=1)).text)


def test_what_cannot_be_played_is_said(tmp_path):
    page = Page(report([written(tmp_path / "a", "toy/catch", [1.0] * 12)], episodes=1))
    assert any("Not shown: CheckpointError" in text for text in page.text)


def test_a_damaged_best_checkpoint_is_said(tmp_path):
    run = written(tmp_path / "a", "toy/catch", [1.0] * 12)
    manifest = run / "checkpoints" / "best" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")
    assert read_run(run).summary()["best checkpoint"] == "damaged"
    assert "damaged" in Page(report([run], episodes=0)).text


def test_each_task_has_its_own_published_curve(tmp_path):
    runs = [
        written(tmp_path / task, f"dmc/{task}", [10.0 * i for i in range(30)], 0)
        for task in ("walker-run", "cheetah-run")
    ]
    text = Page(report(runs, episodes=0)).text
    for task in ("walker-run", "cheetah-run"):
        assert f"published, dmc_proprio, dmc/{task}, 5 seeds" in text


def test_a_running_mean_forgets_what_was_large():
    assert running_mean([1e17] + [1.0] * 12)[-1] == 1.0


def test_published_curves_are_of_the_task_as_it_is_seen():
    """Numbers of the last bins, read in the source's tables; see NOTICE."""
    proprio = published(compose("dmc/walker-walk").config)
    pixels = published(compose("dmc/walker-walk", overrides=["env.obs=pixels"]).config)
    assert proprio.frames[-1] == 500_000 and pixels.frames[-1] == 1_000_000
    assert (proprio.mean[-1], proprio.seeds) == (880.97, 5)
    assert proprio.mean != pixels.mean[: len(proprio.mean)]
    assert published(compose("atari/MsPacman").config).suite == "atari57"
    assert published(compose("atari100k/Pong").config).frames[-1] == 400_000
    assert published(compose("toy/catch").config) is None


@pytest.mark.parametrize(
    ("agent", "env", "suite", "point"),
    [
        # (frames, mean, std, seeds): the sources' files, see NOTICE.
        ("v1", "dmc/acrobot-swingup", "dmc_vision", (500_000, 244.36, 65.21, 5)),
        ("v2", "crafter/reward", "crafter", (1_000_000, 9.0, 1.7, 0)),
        ("v3_2023", "crafter/reward", "crafter", (1_000_000, 11.7, 1.9, 0)),
    ],
)
def test_an_agent_has_its_own_curve_where_there_is_one(agent, env, suite, point):
    curve = published(compose(env, config=[agent]).config)
    assert (curve.agent, curve.suite) == (agent[:2], suite)
    place = curve.frames.index(point[0])
    assert (curve.frames[place], curve.mean[place], curve.std[place], curve.seeds) == point


def test_an_agent_without_a_curve_is_shown_that_of_v3():
    """DreamerV2 has none from proprioception."""
    assert published(compose("dmc/walker-walk", config=["v2"]).config).agent == "v3"


def test_every_curve_is_whole_and_its_task_exists():
    found = curves()
    assert len({(each.agent, each.suite, each.env) for each in found}) == len(found) == 234
    for each in found:
        assert dreamer_envs.canonical(each.env) == each.env
        assert all(a < b for a, b in zip(each.since, each.frames, strict=True))
        assert all(a <= b for a, b in zip(each.frames, each.since[1:], strict=False))
        assert min(each.std) >= 0


def test_records_give_series_and_means(tmp_path):
    run = read_run(written(tmp_path / "a", "toy/catch", [float(i) for i in range(12)]))
    assert run.series("kl", "frames") == ([200.0, *(200.0 * i for i in range(3, 13))], [1.0] * 11)
    assert run.returns()[1][-1] == 6.5  # of 2 to 11
    assert running_mean([2.0, 4.0, 6.0], 2) == [2.0, 3.0, 5.0]
    summary = run.summary()
    assert (summary["agent steps"], summary["steps per second"]) == (1200, 50.0)


def test_folders_of_one_name_are_told_apart(tmp_path):
    runs = [written(tmp_path / name / "run", "toy/catch", [1.0]) for name in ("a", "b")]
    assert [run.name for run in read_runs(runs)] == [str(run.resolve()) for run in runs]


def test_a_run_without_numbers_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(UsageError, match=r"has no metrics.jsonl: nothing was trained"):
        read_run(tmp_path)


def test_one_checkpoint_is_no_run(catch):
    step = catch / "checkpoints" / "step-000000064"
    for read in (read_run, examine, lambda path: report([path], episodes=1)):
        with pytest.raises(UsageError, match=f"is one checkpoint, .*: name {catch}; "):
            read(step)


def test_where_two_runs_part(tmp_path):
    values = [1.0, 2.0, 3.0]
    a = read_run(written(tmp_path / "a", "toy/catch", values))
    same = read_run(written(tmp_path / "s", "toy/catch", values))
    other = read_run(written(tmp_path / "b", "toy/catch", [1.0, 2.5, 3.0, 4.0], 1))
    found = difference(a, same)
    assert found["parted"] is None and found["rows"] == 6 and found["settings"] == {}
    found = difference(a, other)
    assert found["settings"] == {"seed": [0, 1]}
    assert found["parted"] == {
        "row": 2,
        "step": 200,
        "name": "episode/return",
        "values": [2.0, 2.5],
    }
    assert found["results"]["return at step 300"] == [2.0, 6.5 / 3]
    assert found["results"]["agent steps"] == [300, 400]


def test_both_commands(tmp_path, catch):
    from tests.cli.calling import call as command

    other = written(tmp_path / "b", "toy/catch", [1.0, 2.5])
    out = command("report", catch, other, "--out", tmp_path / "x.html", "--episodes", 0).stdout
    assert out.startswith(f"{tmp_path / 'x.html'}: ") and (tmp_path / "x.html").is_file()
    command("report", other, "--episodes", 0)
    assert (other / "report.html").read_text().startswith("<!doctype html>")
    (other / "report.html").unlink()
    command("report", tmp_path, "--episodes", 0)  # the newest in a folder of runs
    assert (other / "report.html").is_file() and not (tmp_path / "report.html").exists()
    out = command("diff", catch, other).stdout
    assert "first difference in row 0" in out and "run.steps" in out
    assert json.loads(command("diff", other, other, "--json").stdout)["parted"] is None
    (other / "metrics.jsonl").write_text("")  # a run that was cut before its first row
    assert "no row that both logged" in command("diff", catch, other).stdout


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to look with")
def test_a_browser_draws_the_page_without_a_complaint(catch, tmp_path):
    (tmp_path / "page.html").write_text(report([catch], episodes=1))
    picture = tmp_path / "page.png"
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
    ]
    command += [
        "--window-size=1400,3000",
        f"--screenshot={picture}",
        f"file://{tmp_path}/page.html",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "CONSOLE" not in result.stderr  # where a page's errors go
    with Image.open(picture) as shown:
        assert shown.size == (1400, 3000)
        colours = {colour for _, colour in shown.convert("RGB").getcolors(1 << 24)}
    assert (31, 119, 180) in colours  # a line of the first chart's first colour
