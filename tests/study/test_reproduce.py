"""A published curve is tried again: protocol, cells, bins, verdicts, files, table."""

import csv
import json
import math
from dataclasses import replace

import pytest

from dreamer_plugin.config import compose, save_config
from dreamer_plugin.doors import cli_config, cli_reproduce
from dreamer_plugin.errors import UsageError
from dreamer_plugin.study import published_curves, reproduce, reproduce_results, reproduce_table
from dreamer_plugin.study.published_curves import curve_of
from dreamer_plugin.study.reproduce import Difference, Reproduction
from dreamer_plugin.study.reproduce_found import curve_to_reach, find, read_recorded
from tests.cli.calling import call
from tests.cli.conftest import laptop  # noqa: F401

CURVES = """agent,suite,env,since,frames,mean,std,seeds
v3,toy,toy/reach,0,20,10,2,5
v3,toy,toy/reach,20,40,20,4,5
v3,toy,toy/reach,40,60,30,0,5
"""
PLAN = Reproduction(
    env="toy/reach",
    seen="",
    agent="v3_2024",
    curve="v3",
    frames=40,
    steps=40,
    seeds=2,
    variants={"full": []},
    settings=[],
    differences=[],
    commands=["dreamer-plugin reproduce toy/reach"],
)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A curve of toy/reach takes the place of what is shipped."""
    path = tmp_path / "curves.csv"
    path.write_text(CURVES)
    monkeypatch.setattr(published_curves, "FILE", path)
    return tmp_path / "out"


def written(folder, name, returns, frames=40, done=True):
    """A cell that was never made: `returns` is (frames, return) of each episode."""
    place = folder / name
    place.mkdir(parents=True)
    save_config(compose("toy/reach").config, place / "config.yaml")
    rows = [
        {"step": at, "seconds": 2.0 * at, "frames": at, "updates": at // 2, "env": 0,
         "episode/return": value}
        for at, value in returns
    ]  # fmt: skip
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if done:
        (place / "done.json").write_text(json.dumps({"steps": frames, "frames": frames}))


def made_shelf(toy):
    """An empty shelf for results of toy/reach."""
    shelf = toy.parent / "shelf"
    shelf.mkdir()
    (shelf / "tasks.yaml").write_text("tasks:\n- {env: toy/reach, agent: v3_2024}\n")
    (shelf / "others.csv").write_text("env,obs,frames,implementation,mean,seeds,commit\n")
    (shelf / "README.md").write_text(f"{reproduce_table.BEGIN}\n{reproduce_table.END}\n")
    return shelf


def keys(found):
    return {each.setting: (each.published, each.here) for each in found}


def test_the_protocol_of_a_curve_is_its_own():
    """The 2024 release: repeat 2, size 12m, ratio 512, 16 envs; 500k frames are 250k steps."""
    cfg = reproduce.protocol(curve_of("dmc/walker-walk", "", "v3"), 500_000)
    assert (cfg.agent, cfg.size, cfg.run.steps) == ("v3_2024", "12m", 250_000)
    assert (cfg.run.train_ratio, cfg.env.num_envs) == (512, 16)
    assert (cfg.env.options["action_repeat"], cfg.env.options["obs"]) == (2, "proprio")
    pixels = reproduce.protocol(curve_of("dmc/walker-walk", "pixels", "v1"), 1_000_000)
    assert (pixels.agent, pixels.env.options["obs"], pixels.run.steps) == ("v1", "pixels", 500_000)


def test_what_differs_is_told_once_and_nothing_else():
    curve = curve_of("dmc/walker-walk", "", "v3")
    same = reproduce.protocol(curve, 100_000)
    assert reproduce.differences(curve, 100_000, same) == []
    shorter = replace(same, replay=replace(same.replay, capacity=50_000))
    assert reproduce.differences(curve, 100_000, shorter) == []  # it holds the whole run
    options = {"size": "1m", "env.num_envs": 2, "run.steps": 50_000}
    words = ["optim.lr=1e-4", "device=cpu", "run.log_every=7", "replay.capacity=1000"]
    here = compose("dmc/walker-walk", config=["v3_2024"], overrides=words, options=options).config
    found = reproduce.differences(curve, 100_000, here, {"size": "no GPU"})
    assert keys(found) == {
        "size": ("12m", "1m"),  # and not the five widths that go with it
        "env.num_envs": (16, 2),
        "optim.lr": (4e-5, 1e-4),
        "replay.capacity": (5_000_000, 1000),
    }
    assert str(found[0]) == "size: 12m -> 1m (no GPU)"


def test_control_from_states_goes_by_the_protocol_of_2023_too():
    """danijar/dreamerv3 @ 423291a holds the same curves: its configs.yaml says small and 4 envs."""
    curve = curve_of("dmc/walker-walk", "", "v3")
    assert curve.presets == ["v3_2024", "v3_2023"]
    cfg = reproduce.protocol(curve, 500_000, agent="v3_2023")
    assert (cfg.agent, cfg.size, cfg.env.num_envs) == ("v3_2023", "small", 4)
    assert (cfg.run.train_ratio, cfg.run.steps) == (512, 250_000)
    assert reproduce.differences(curve, 500_000, cfg) == []
    words = {"size": "1m", "env.num_envs": 2}
    here = compose("dmc/walker-walk", config=["v3_2023"], options=words).config
    found = keys(reproduce.differences(curve, 500_000, here))
    assert found == {"size": ("small", "1m"), "env.num_envs": (4, 2)}
    pixels = curve_of("dmc/walker-walk", "pixels", "v3")
    assert pixels.presets == ["v3_2024"]  # these were run anew for the second version
    assert reproduce.protocol(pixels, 10**6, agent="v3_2023").agent == "v3_2024"


@pytest.mark.parametrize(
    ("agent", "told"),
    [("v3_2024", ["published before, number for number, with the agent of --config v3_2023"]),
     ("v3_2023", []), ("v3", [])],
)  # fmt: skip
def test_an_earlier_release_is_named_where_the_later_one_is_run(agent, told):
    plan = replace(PLAN, env="dmc/walker-walk", agent=agent)
    assert cli_reproduce._told(plan, curve_of("dmc/walker-walk", "", "v3"))[1:-1] == told


def test_another_agent_differs_by_its_name_and_all_its_settings():
    curve = curve_of("dmc/walker-walk", "", "v3")
    now = compose("dmc/walker-walk", config=["v3"]).config
    found = keys(reproduce.differences(curve, 500_000, now))
    assert found["agent"] == ("v3_2024", "v3") and found["run.train_ratio"] == (512, 1024)
    assert found["env.options.action_repeat"] == (2, 1)
    assert found["behavior.true_start"] == (True, False) and "model.deter" not in found


def test_a_folder_goes_on_and_grows_but_does_not_change(toy):
    reproduce.enter(PLAN, toy)
    grown = replace(PLAN, seeds=1, variants={"full": [], "without-symlog": ["without_symlog"]})
    plan = reproduce.enter(replace(grown, commands=["again"]), toy)
    assert (plan.seeds, list(plan.variants)) == (2, ["full", "without-symlog"])
    assert plan.commands == ["dreamer-plugin reproduce toy/reach", "again"]
    assert reproduce.read_reproduction(toy) == plan
    assert list(plan.names()) == [
        "full-s0", "without-symlog-s0", "full-s1", "without-symlog-s1",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"settings \[\] there, \['size=1m'\] here"):
        reproduce.enter(replace(PLAN, settings=["size=1m"]), toy)
    (toy.parent / "other").mkdir()
    (toy.parent / "other" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds other files"):
        reproduce.enter(PLAN, toy.parent / "other")


def test_episodes_are_averaged_in_the_bins_of_the_curve(toy):
    """A bin holds its end and not its beginning; one that a run has not passed is left out."""
    written(toy, "full-s0", [(20, 1.0), (21, 4.0), (40, 8.0), (45, 99.0)])
    written(toy, "full-s1", [(10, 2.0), (20, 4.0), (39, 5.0)], done=False)
    first, second = find(PLAN, toy).curves
    assert (first.means, first.episodes) == ([1.0, 6.0], [1, 2])
    assert (second.means, second.episodes) == ([3.0], [2])
    (full,) = reproduce_results.spreads([first, second]).values()
    assert (full.mean, full.std, full.low, full.high) == ([2.0], [1.0], [1.0], [3.0])


def test_a_seed_without_an_episode_leaves_its_bin_unknown(toy):
    written(toy, "full-s0", [(20, 1.0), (40, 8.0)])
    written(toy, "full-s1", [(20, 3.0)])
    (full,) = reproduce_results.spreads(find(PLAN, toy).curves).values()
    assert full.mean == [2.0, None]
    curve = curve_to_reach(PLAN)
    assert reproduce_results.verdict(curve, full, True).frames == 20


@pytest.mark.parametrize(
    ("ours", "word"),
    [(16.0, "inside"), (15.9, "below"), (24.0, "inside"), (24.1, "above")],
)
def test_a_verdict_is_a_deviation_wide(toy, ours, word):
    """20 and a deviation of 4 at the second bin; 10 and 2 at the first."""
    for seed in (0, 1):
        written(toy, f"full-s{seed}", [(20, 7.0), (40, ours)])
    (full,) = reproduce_results.spreads(find(PLAN, toy).curves).values()
    found = reproduce_results.verdict(curve_to_reach(PLAN), full, False)
    assert (found.word, found.frames, found.published) == (word, 40, 20)
    assert found.bins[word] >= 1 and found.bins["below"] >= 1 and sum(found.bins.values()) == 2
    assert found.share == ours / 20 and "; not the same protocol" in str(found)


def test_a_band_without_width_has_a_hundredth_of_the_mean(toy):
    """30 and a deviation of 0 at the last bin."""
    plan = replace(PLAN, frames=60, steps=60, seeds=1)
    for name, ours, word in (("a", 29.8, "inside"), ("b", 29.6, "below")):
        written(toy / name, "full-s0", [(10, 1.0), (30, 1.0), (60, ours)], frames=60)
        (full,) = reproduce_results.spreads(find(plan, toy / name).curves).values()
        curve = curve_to_reach(plan)
        assert reproduce_results.verdict(curve, full, True).word == word


def test_runs_that_end_before_the_first_point_are_refused(toy):
    with pytest.raises(UsageError, match=r"19 frames end before the first point .* 20 or more"):
        curve_to_reach(replace(PLAN, frames=19))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_tell_what_was_found(toy):
    pytest.importorskip("matplotlib")
    plan = replace(
        PLAN,
        seeds=1,
        variants={"full": [], "without-symlog": ["without_symlog"]},
        differences=[Difference("size", "12m", "1m", "no <GPU>")],
    )
    written(toy, "full-s0", [(20, 9.0), (40, 20.0)])
    (toy / "without-symlog-s0").mkdir()
    (toy / "without-symlog-s0" / "failed.json").write_text('{"error": "OSError: gone"}')
    files, verdicts = reproduce_results.write_results(find(plan, toy), toy / "results")
    assert [file.name for file in files] == [
        "result.json", "curve.csv", "seeds.csv", "report.html", "curve.png",
    ]  # fmt: skip
    assert [(each.variant, each.word) for each in verdicts] == [("full", "inside")]
    facts = json.loads(files[0].read_text())
    assert facts["failed"] == {"without-symlog-s0": "OSError: gone"}
    assert (facts["same_protocol"], facts["verdicts"][0]["share"]) == (False, 1.0)
    assert facts["runs"][0] | {"machines": []} == {
        "variant": "full", "seed": 0, "done": True, "frames": 40, "updates": 20, "seconds": 80.0,
        "machines": [],
    }  # fmt: skip
    (first, second) = rows(files[1])
    assert (first["mean"], first["published_mean"], second["low"]) == ("9.0", "10.0", "20.0")
    assert [row["episodes"] for row in rows(files[2])] == ["1", "1"]
    text = files[3].read_text()
    assert text.index("no &lt;GPU&gt;") < text.index("<svg")  # above the plot
    assert "contributes on average" in text and "OSError: gone" in text
    assert files[4].read_bytes()[:4] == b"\x89PNG"


def test_a_table_is_made_of_what_was_recorded(toy):
    shelf = toy.parent / "shelf"
    shelf.mkdir()
    listed = "tasks:\n- {env: toy/reach, agent: v3_2024}\n- {env: toy/reach, agent: v2}\n"
    (shelf / "tasks.yaml").write_text(listed)
    (shelf / "others.csv").write_text(
        "env,obs,frames,implementation,mean,seeds,commit\ntoy/reach,,60,an/other,25.5,3,abc\n"
    )
    page = f"before\n{reproduce_table.BEGIN}\nold\n{reproduce_table.END}\nafter\n"
    (shelf / "README.md").write_text(page)
    reproduce_table.write_table(shelf)
    text = (shelf / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("not run") == 2 and "`dreamer-plugin reproduce toy/reach --agent v2`" in text
    for seed in (0, 1):
        written(toy, f"full-s{seed}", [(20, 9.0), (40, 19.0 + seed)])
    place = reproduce_table.record(find(PLAN, toy), shelf)
    assert place == shelf / "toy-reach" / "v3_2024" and (place / "seeds.csv").is_file()
    _, ours, other = reproduce_table.table(shelf)
    assert ours[2:8] == [
        "20 ± 4 at 0.04k", "30 at 0.06k", "19.5 ± 0.5, seeds: 2", "98%",
        "[inside](toy-reach/v3_2024/result.json)", "published",
    ]  # fmt: skip
    assert ours[8:] == [
        "20, 20", "0.0, 0.0", "25.5 at 0.06k (an/other)", "`dreamer-plugin reproduce toy/reach`",
    ]  # fmt: skip
    assert other[4] == "not run"
    (shelf / "README.md").write_text("no place")
    with pytest.raises(UsageError, match="must have one line"):
        reproduce_table.write_table(shelf)


def test_what_was_interrupted_is_recorded_as_far_as_it_came(toy, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    shelf = made_shelf(toy)

    def cut(plan, configs, folder, tell, only):
        written(folder, "full-s0", [(20, 9.0), (40, 19.0)])
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_reproduce, "_plan", lambda *args: (PLAN, {}))
    monkeypatch.setattr(reproduce, "run", cut)
    with pytest.raises(KeyboardInterrupt):
        asked = cli_reproduce._Asked("toy/reach", [], "v3", 1, "published", [], [], None, {})
        cli_reproduce._run(asked, toy / "out", shelf)
    assert "recorded in" in capsys.readouterr().out
    assert "seeds: 1" in (shelf / "README.md").read_text()


def test_runs_of_several_machines_are_recorded_together(toy):
    """Two machines have a seed and a variant each; the third has a seed that came less far."""
    shelf = made_shelf(toy)
    both = {"full": [], "without-symlog": ["without_symlog"]}
    plans = [PLAN, replace(PLAN, variants=both, commands=["again"]), PLAN]
    written(toy / "a", "full-s0", [(20, 9.0), (40, 19.0)])
    written(toy / "b", "full-s1", [(20, 11.0), (40, 23.0)])
    written(toy / "b", "without-symlog-s0", [(20, 3.0), (40, 5.0)])
    written(toy / "c", "full-s0", [(20, 100.0)], frames=20, done=False)
    for plan, machine in zip(plans, "abc", strict=True):
        place = reproduce_table.record(find(plan, toy / machine), shelf)
    found = read_recorded(place)
    assert {name: each.facts["frames"] for name, each in found.ran.items()} == {
        "full-s0": 40, "without-symlog-s0": 40, "full-s1": 40, "without-symlog-s1": 0,
    }  # fmt: skip
    assert found.plan.commands == [*PLAN.commands, "again"]
    means = {(each.variant, each.seed): each.means for each in found.curves}
    assert means["full", 0] == [9.0, 19.0] and means["without-symlog", 0] == [3.0, 5.0]
    assert rows(place / "curve.csv")[1]["mean"] == "21.0"  # of 19 and 23
    (_, ours) = reproduce_table.table(shelf)
    assert "21 ± 2, seeds: 2" in ours and "20, 20" in ours  # no updates of runs that were not made


def test_what_was_recorded_of_another_protocol_is_not_written_over(toy):
    shelf = made_shelf(toy)
    written(toy, "full-s0", [(20, 9.0), (40, 19.0)])
    place = reproduce_table.record(find(PLAN, toy), shelf)
    before = (place / "result.json").read_text()
    other = replace(PLAN, differences=[Difference("size", "12m", "1m", "no GPU")])
    told = 'holds results of something else: size as published there, "1m" here'
    for attempt in (
        lambda: reproduce_table.check(other, shelf),
        lambda: reproduce_table.record(find(other, toy), shelf),
    ):
        with pytest.raises(UsageError, match=told):
            attempt()
    assert (place / "result.json").read_text() == before
    reproduce_table.check(PLAN, shelf)


def test_a_shorter_look_takes_no_bins_away(toy):
    """The folder and the shelf keep what longer runs found."""
    shelf, short = made_shelf(toy), replace(PLAN, frames=20, steps=20)
    toy.mkdir()
    reproduce.enter(PLAN, toy)
    written(toy, "full-s0", [(20, 9.0), (40, 19.0)])
    place = reproduce_table.record(find(PLAN, toy), shelf)
    now = reproduce.enter(short, toy)
    assert (now.frames, now.steps) == (40, 40)
    reproduce_table.record(find(short, toy), shelf)  # nor where only the new length is known
    assert [row["mean"] for row in rows(place / "seeds.csv")] == ["9.0", "19.0"]


def test_a_folder_does_not_mix_protocols_that_machines_chose(toy):
    here = replace(PLAN, differences=[Difference("size", "12m", "1m", "no GPU")])
    reproduce.enter(here, toy)
    with pytest.raises(UsageError, match='something else: size "1m" there, as published here'):
        reproduce.enter(PLAN, toy)
    longer = [*here.differences, Difference("replay.capacity", 5000, 100)]
    assert reproduce.enter(replace(here, frames=60, differences=longer), toy).frames == 60


@pytest.mark.parametrize("page", ["no place for a table", None])
def test_a_shelf_is_looked_at_before_training(toy, page):
    shelf = made_shelf(toy)
    (shelf / "tasks.yaml").unlink()  # a shelf may have no rows of its own
    reproduce_table.check(PLAN, shelf)
    (shelf / "README.md").unlink() if page is None else (shelf / "README.md").write_text(page)
    with pytest.raises(UsageError, match="there is no README.md" if page is None else "one line"):
        reproduce_table.check(PLAN, shelf)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=7"], "seed=7 counts for nothing here: say it with --seeds and --only"),
        (["run.steps=9"], "say it with --budget"),
        (["--agent", "v2", "--without", "two-hot"], "--without two-hot: v2 has no such part"),
        (["--agent", "v1", "--without", "return-norm"], "--without return-norm: v1 has no such"),
        (["--agent", "v2", "--without", "kl-balance+symlog"], "--without symlog: v2 has no such"),
        (["--without", "symlog"], "has no such part to leave out on dmc/walker-walk from pixels."),
    ],
)
def test_what_would_count_for_nothing_is_refused(words, told):
    assert told in call("reproduce", "dmc/walker-walk", "env.obs=pixels", *words, code=2).output


def test_only_the_runs_that_are_named_are_made(toy, monkeypatch):
    made = []
    monkeypatch.setattr(reproduce, "_train", lambda cfg, seed, *rest: made.append(seed) or {})
    toy.mkdir()
    reproduce.run(PLAN, {"full": None}, toy, print, ["full-s1"])
    assert made == [1]
    monkeypatch.setattr(cli_config, "resolve", lambda *args: 1 / 0)  # makes envs, for seconds
    told = call("reproduce", "toy/reach", "--seeds", "2", "--only", "full-s3", code=2).output
    assert "Unknown --only 'full-s3'" in told and "full-s1" in told


def test_seeds_that_were_not_asked_for_now_are_not_made(toy, monkeypatch):
    made = []

    def train(cfg, seed, plan, tell, place):
        made.append((seed, plan.frames))
        return {"steps": plan.steps, "frames": plan.frames, "updates": 0}

    monkeypatch.setattr(reproduce, "_train", train)
    line = ["reproduce", "toy/reach", "--out", toy, "--budget"]
    call(*line, "20", "--seeds", "2")
    call(*line, "60")
    assert made == [(0, 20), (1, 20), (0, 60)]
    call(*line, "60", "--only", "full-s1")  # of the folder, not of this command's --seeds
    assert made[3:] == [(1, 60)]
    assert reproduce.read_reproduction(toy).seeds == 2


def test_a_run_that_was_lengthened_and_cut_is_not_done(toy):
    written(toy, "full-s0", [(10, 1.0)], frames=40)
    found = find(replace(PLAN, seeds=1, frames=60, steps=60), toy)
    assert found.ran["full-s0"].facts["done"] is False
    assert find(replace(PLAN, seeds=1), toy).ran["full-s0"].facts["done"] is True


def test_settings_may_be_typed_in_any_order(toy):
    reproduce.enter(replace(PLAN, settings=["a=1", "b=2"]), toy)
    reproduce.enter(replace(PLAN, settings=["b=2", "a=1"]), toy)
    with pytest.raises(UsageError, match="settings"):
        reproduce.enter(replace(PLAN, settings=["b=3", "a=1"]), toy)


def test_files_of_a_folder_that_were_cut_are_no_tracebacks(toy):
    reproduce.enter(PLAN, toy)
    for text, told in (("", "is damaged"), ('{"env": "toy/reach"}', "not what this version")):
        (toy / "reproduce.json").write_text(text)
        with pytest.raises(UsageError, match=told):
            reproduce.enter(PLAN, toy)


def test_what_was_recorded_stays_until_the_new_files_stand(toy, monkeypatch):
    shelf = made_shelf(toy)
    written(toy, "full-s0", [(10, 1.0), (30, 2.0)])
    found = find(replace(PLAN, seeds=1), toy)
    place = reproduce_table.record(found, shelf)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    copied = reproduce_table.shutil.copyfile

    def copy(source, target):
        if "seeds" in str(target):
            raise OSError(28, "No space left on device")
        return copied(source, target)

    monkeypatch.setattr(reproduce_table.shutil, "copyfile", copy)
    with pytest.raises(OSError, match="No space left"):
        reproduce_table.record(found, shelf)
    assert before == {file.name: file.read_bytes() for file in place.iterdir()}
    monkeypatch.undo()
    (place / "seeds.csv").unlink()
    with pytest.raises(UsageError, match="result.json without its seeds.csv"):
        read_recorded(place)


def test_the_table_keeps_its_columns_and_names_the_agent_of_a_row(toy):
    shelf = made_shelf(toy)
    written(toy, "full-s0", [(10, 1.0), (30, 2.0)])
    commands = ["dreamer-plugin reproduce toy/reach 'env.goals=a|b'"]
    reproduce_table.record(find(replace(PLAN, seeds=1, commands=commands), toy), shelf)
    header, _, row = (shelf / "README.md").read_text().splitlines()[1:4]
    assert row.count("|") - row.count("\\|") == header.count("|") and "a\\|b" in row
    assert reproduce_table._command(("dmc/walker-walk", "", "v3_2024")).endswith("walker-walk")
    assert reproduce_table._command(("dmc/walker-walk", "", "v3")).endswith("--config v3")
    (shelf / "README.md").write_text(f"{reproduce_table.END}\n{reproduce_table.BEGIN}\n")
    with pytest.raises(UsageError, match="and below it one"):
        reproduce_table.write_table(shelf)


def test_a_negative_score_has_no_share():
    below = reproduce_results.Verdict("full", 40, 1, -15.0, 0, -10.0, 1, "below", {}, True)
    assert "%" not in str(below) and math.isnan(below.share)


def test_the_recorded_table_is_that_of_its_files(repo):
    shelf = repo / "docs" / "results"
    text = (shelf / "README.md").read_text(encoding="utf-8")
    again = "dreamer-plugin reproduce --record docs/results"
    assert text == reproduce_table.with_table(text, shelf), f"run {again}"


@pytest.mark.usefixtures("laptop")
def test_a_command_trains_compares_goes_on_and_survives_a_failure(repo, toy, monkeypatch):
    """Real and tiny: two seeds of 50 frames, one of which fails, then all of 100.

    An episode has 21 records and there are two envs: some end at frame 42 and at frame 84.
    """
    (toy.parent / "curves.csv").write_text(
        "agent,suite,env,since,frames,mean,std,seeds\n"
        "v3,toy,toy/reach,0,50,10,2,5\nv3,toy,toy/reach,50,100,20,4,5\n"
    )
    tiny = str(repo / "tests" / "run" / "tiny.yaml")
    line = ["reproduce", "toy/reach", "--config", tiny, "--out", toy, "--seeds", "2"]
    line += ["--num-envs", "2"]
    train = reproduce.train
    broken = {0}

    def fails(cfg, **words):
        if cfg.seed in broken:
            raise OSError("no space")
        return train(cfg, **words)

    monkeypatch.setattr(reproduce, "train", fails)
    told = call(*line, "--budget", "50%", code=1).output
    assert "not the same protocol:\n" in told and "  agent: v3_2024 -> v3" in told
    assert "full-s0: failed, OSError: no space" in told and "failed: full-s0;" in told
    assert (toy / "full-s1" / "done.json").is_file()
    assert json.loads((toy / "results" / "result.json").read_text())["failed"]
    broken.clear()
    told = call(*line, "--budget", "100").output
    assert "done before" not in told and "full: " in told
    facts = json.loads((toy / "results" / "result.json").read_text())
    assert [run["done"] for run in facts["runs"]] == [True, True] and not facts["failed"]
    assert [len(run["machines"]) for run in facts["runs"]] == [1, 2]  # the second went on
    assert facts["commands"][-1].endswith(f"--budget 100 --config {tiny} --num-envs 2")
    assert call(*line, "--budget", "100").output.count("done before") == 2


@pytest.mark.usefixtures("laptop")
def test_a_part_that_an_agent_has_not_cannot_be_left_out(repo, toy):
    line = ["reproduce", "toy/reach", "--config", "v1", "--without", "unimix", "--out", toy]
    message = call(*line, code=2).stderr
    assert "--without unimix: v1 has no such part to leave out on toy/reach." in message


def test_curves_are_listed():
    lines = call("reproduce", "--list", "walker-walk").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["dmc/walker-walk", agent] for agent in ("v1", "v2", "v3", "v3")
    ]
    assert any("880.97" in line and "500,000" in line for line in lines)
