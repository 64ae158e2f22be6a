"""Steering a dream: what is shown, and who may ask for it."""

import base64
import http.client
import io
import json
import math
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.ops.distributions import MSE
from dreamer_plugin.run.evaluate import choose
from dreamer_plugin.spaces import ActionKey, Spaces
from dreamer_plugin.study.dream import Dream, as_observed, number, vector
from dreamer_plugin.study.dream_server import DreamServer
from tests.cli.calling import call
from tests.study.browser import CHROMIUM, Browser
from tests.study.test_play import saved


@pytest.fixture(scope="module")
def runs(repo, tmp_path_factory):
    """Untrained agents: of images, of a vector with a drawing, of continuous actions."""
    folder = tmp_path_factory.mktemp("dream")
    return {
        "catch": saved(repo, folder / "catch", "toy/catch", model__depth=2),
        "cartpole": saved(repo, folder / "cartpole", "gym/CartPole-v1"),
        "pendulum": saved(repo, folder / "pendulum", "gym/Pendulum-v1"),
    }


def dreaming(run, seed=0, deterministic=None):
    return Dream(choose(run, "latest"), seed, deterministic, "cpu")


def decoded(address):
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_both_worlds_take_the_same_actions(runs):
    dream = dreaming(runs["catch"])
    start = dream.moment()
    assert (start["step"], start["dreamed"], start["real"]["over"]) == (0, 0, "")
    for i in range(1, 9):  # an episode of catch takes 8 steps
        moment = dream.step("human", {"action": [2]})
        assert moment["step"] == moment["dreamed"] == i and moment["action"] == [0, 0, 1]
    assert moment["real"]["over"] == "by the task" and moment["real"]["reward"] in (-1, 1)
    # The paddle went right in the real env: it lies in the last of 8 columns, the last row.
    assert (decoded(moment["real"]["images"]["image"])[60, 60] == dream.env.unwrapped.PADDLE).all()
    assert decoded(moment["dream"]["images"]["image"]).shape == (64, 64, 3)
    after = dream.step("human", {"action": [0]})  # the dream goes on alone
    assert after["real"] == moment["real"] and after["dreamed"] == 9
    assert 0 <= after["dream"]["cont"] <= 1
    fresh = dream.reset()
    assert (fresh["step"], fresh["real"]["over"], fresh["real"]["return"]) == (0, "", 0)


def test_the_dream_is_what_the_world_model_foresees(runs):
    """Two steps by hand, likeliest states: no noise, so that the numbers are those of the parts."""
    dream = dreaming(runs["cartpole"], deterministic=True)
    world = dream.agent.world
    deter, stoch = dream.state
    assert torch.equal(deter, dream._believed["deter"])
    for side in (0, 1):
        action = torch.eye(2)[side][None]
        with torch.no_grad():
            deter, prior = world.rssm.predict_step(deter, stoch, action)
            stoch = world.rssm.latent.mode(prior)
        moment = dream.step("human", {"action": [side]})
    assert torch.equal(dream.state[0], deter) and torch.equal(dream.state[1], stoch)
    with torch.no_grad():
        feat = world.rssm.feat(deter, stoch)
        reward, _ = world.judge(feat)
        seen = world.decoder(deter, world.rssm.flat(stoch))["vector"].pred()[0]
    assert moment["dream"]["reward"] == pytest.approx(float(reward))
    # The world learns vectors as symlog(x) = sign(x) log(1 + |x|); a person sees x.
    by_hand = np.sign(seen.numpy()) * np.expm1(np.abs(seen.numpy()))
    assert moment["dream"]["vectors"]["vector"] == pytest.approx(by_hand.tolist(), rel=1e-5)
    assert len(moment["real"]["vectors"]["vector"]) == 4 and moment["real"]["frame"]


def test_rewards_of_both_worlds_are_those_that_are_learned(runs, monkeypatch):
    dream = dreaming(runs["cartpole"])
    monkeypatch.setattr(dream.agent.world, "reward_transform", torch.tanh)
    moment = [dream.step("human", {"action": [side]}) for side in (0, 1)][-1]
    # CartPole pays 1 a step.
    assert moment["real"]["reward"] == pytest.approx(math.tanh(1))
    assert moment["real"]["return"] == pytest.approx(2 * math.tanh(1))


def test_re_anchoring_puts_the_dream_where_the_agent_is(runs):
    dream = dreaming(runs["cartpole"])
    for _ in range(3):
        dream.step("dream")
    assert not torch.equal(dream.state[0], dream._believed["deter"])
    moment = dream.anchor()
    assert torch.equal(dream.state[0], dream._believed["deter"])
    assert (moment["step"], moment["dreamed"]) == (3, 0)
    assert moment["dream"]["return"] == moment["real"]["return"] == 3
    assert moment["dream"]["value"] == moment["real"]["value"]


def test_the_policy_by_the_real_env_plays_as_play_does(runs):
    """The same seed of env and likeliest actions: the return that one episode of play has."""
    from dreamer_plugin.study import play

    ((episode, _),) = play.play(choose(runs["cartpole"], "latest"), 1, 5, True, "rgb_array", "cpu")
    dream = dreaming(runs["cartpole"], seed=5, deterministic=True)
    moment = dream.moment()
    while not moment["real"]["over"]:
        moment = dream.step("real")
    assert moment["real"]["return"] == sum(episode.rewards)


def test_continuous_actions(runs):
    dream = dreaming(runs["pendulum"])
    (about,) = dream.about()["actions"]
    assert (about["kind"], about["variables"], about["labels"]) == ("continuous", 1, [])
    assert dream.step("human", {"action": [7]})["action"] == [1]  # the most that the env takes
    assert dream.step("human", {"action": [-0.25]})["action"] == [-0.25]
    assert len(dream.step("dream")["action"]) == 1


def test_a_persons_action_is_encoded_or_refused():
    keys = (ActionKey("move", "continuous", (2,)), ActionKey("tool", "discrete", (2,), 3))
    spaces = Spaces((), keys)
    both = vector(spaces, {"move": [0.5, -3], "tool": [1, 2]})
    assert both.tolist() == [0.5, -1, 0, 1, 0, 0, 0, 1] and both.dtype == np.float32
    wrong = [[], [1], [0, 3], [0, -1], [0, 0.5], [0, True], [0, "1"], [0, float("nan")], None, {}]
    for tool in wrong:
        with pytest.raises(UsageError, match="action 'tool'"):
            vector(spaces, {"move": [0, 0], "tool": tool})


def test_what_is_not_finite_is_nothing():
    assert number(float("nan")) is None and number(torch.tensor([1.5])) == 1.5


def test_predictions_are_shown_as_the_env_shows_things():
    image = as_observed(ImageOutput(torch.tensor([[[[0.0, 0.5, 2.0]]]])))
    assert image.tolist() == [[[0, 128, 255]]] and image.dtype == np.uint8
    squashed = MSE(torch.log1p(torch.tensor([[3.0]])), 1, symlog_target=True)
    assert as_observed(squashed) == pytest.approx(3.0)


def test_an_env_that_cannot_draw_says_so(runs, monkeypatch):
    from gymnasium.envs.classic_control import CartPoleEnv

    def broken(self):
        raise RuntimeError("no display")

    monkeypatch.setattr(CartPoleEnv, "render", broken)
    dream = dreaming(runs["cartpole"])
    assert dream.moment()["real"]["frame"] is None
    assert dream.about()["trouble"] == "The env cannot draw here: RuntimeError: no display"


@contextmanager
def serving(run, **options):
    with DreamServer(lambda: dreaming(run, **options)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(runs):
    with serving(runs["catch"]) as found:
        yield found


def asked(server, verb="look", method="POST", token=None, body="{}", **headers):
    """Status, headers and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    path = f"/{server.token if token is None else token}/{verb}"
    connection.request(method, path, body if method == "POST" else None, given)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


def test_a_page_and_its_verbs(server):
    status, headers, page = asked(server, "", "GET")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "NONCE" not in page and "http" not in page
    assert page.count(policy.split("'nonce-")[1].split("'")[0]) == 2  # of style and script
    about = json.loads(asked(server, "about")[2])
    assert about["title"].startswith("toy/catch, checkpoint step-") and about["fps"] == 8
    steered = json.loads(asked(server, "step", body='{"by": "dream"}')[2])
    assert steered["step"] == 1
    assert json.loads(asked(server, "anchor")[2])["dreamed"] == 0
    assert json.loads(asked(server, "reset")[2])["step"] == 0
    assert json.loads(asked(server, "look")[2])["step"] == 0


def test_what_the_env_does_not_take_is_said(server):
    body = '{"by": "human", "action": {"action": [3]}}'
    status, _, text = asked(server, "step", body=body)
    assert status == 400 and "classes 0 to 2" in json.loads(text)["error"]
    status, _, text = asked(server, "step", body='{"by": "me"}')
    assert status == 400 and "Unknown steering 'me'" in json.loads(text)["error"]


def test_a_failing_env_is_told_to_the_page(server, monkeypatch):
    def broken(by, action=None):
        raise RuntimeError("the simulator fell over")

    monkeypatch.setattr(server._dream, "step", broken)
    status, _, text = asked(server, "step", body='{"by": "dream"}')
    assert (status, json.loads(text)) == (500, {"error": "RuntimeError: the simulator fell over"})


def test_numbers_that_are_not_finite_are_told_to_the_page(server, monkeypatch):
    """JSON has no word for them; the page must hear why, not wait for an answer."""
    monkeypatch.setattr(server._dream, "step", lambda by, action=None: {"action": [math.nan]})
    status, _, text = asked(server, "step", body='{"by": "dream"}')
    assert status == 400 and "not finite" in json.loads(text)["error"]
    monkeypatch.undo()
    assert asked(server)[0] == 200


def test_strangers_are_refused(server):
    port = server.server_port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"localhost:{port + 1}", ""):
        assert asked(server, Host=host)[0] == 403, host
        assert asked(server, "", "GET", Host=host)[0] == 403, host
    assert asked(server, Host=f"localhost:{port}")[0] == 200
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}"):
        assert asked(server, Origin=origin)[0] == 403
    assert asked(server, Origin=f"http://127.0.0.1:{port}")[0] == 200
    for token in ("", "x", server.token[:-1], server.token + "x", "%C3%A9"):
        assert asked(server, token=token)[0] == 404
        assert asked(server, "", "GET", token=token)[0] == 404


def test_no_path_leads_to_a_file(server):
    for path in ("..", "../..", "dream.html", "%2e%2e/dream.py", "/etc/passwd", "look"):
        status, _, text = asked(server, path, "GET")
        assert (status, text) == (404, "Nothing is here.\n"), path
    assert asked(server, "close")[0] == 404


def test_no_other_site_may_read_or_send(server):
    """A form or a plain fetch cannot send JSON; a preflight, which could allow it, gets nothing."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert asked(server, Content_Type=kind)[0] == 415
    status, headers, _ = asked(server, method="OPTIONS", Origin="http://evil.example")
    assert status == 501
    for found in (headers, asked(server)[1], asked(server, "", "GET")[1]):
        assert not [name for name in found if name.lower().startswith("access-control")]


def test_bodies_that_are_none(server):
    assert asked(server, body="[1]")[0] == 400 and asked(server, body="{")[0] == 400
    assert asked(server, body="[" * 50_000)[0] == 400
    assert asked(server, Content_Length="-1")[0] == 411
    assert asked(server, Content_Length=str(1 << 20))[0] == 413
    assert asked(server, Content_Length="0" * 10 + "9999999")[0] == 413


def test_it_listens_at_the_loopback_alone(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_taken_port_is_said():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"Port {port} of 127.0.0.1 is in use: name another"):
            DreamServer(lambda: pytest.fail("too early"), port)


def test_what_cannot_be_dreamed_frees_the_port(runs):
    def broken():
        raise UsageError("no such env")

    with pytest.raises(UsageError, match="no such env"):
        DreamServer(broken)


def test_the_command_says_where_the_page_is(runs, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(
        DreamServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    words = ("play", runs["catch"], "--which", "latest", "--dream")
    first = call(*words).stdout
    assert first.startswith("http://127.0.0.1:") and "ssh -L" in first and opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    call(*words, "--no-browser")
    assert opened == []
    address = call(*words).stdout.splitlines()[0]
    assert opened == [address]


def test_options_that_do_not_go_together(runs):
    words = ("play", runs["catch"], "--which", "latest")
    assert (
        "leave out --out and --episodes" in call(*words, "--dream", "--episodes", 2, code=2).stderr
    )
    assert "--port is of the page: add --dream" in call(*words, "--port", 8000, code=2).stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to steer with")
@pytest.mark.parametrize("name", ["catch", "cartpole", "pendulum"])
def test_a_person_steers_in_a_browser(runs, name, tmp_path):
    with serving(runs[name]) as server:
        browser = Browser(tmp_path / "profile")
        try:
            browser.ask("Page.navigate", url=server.address)
            browser.until("document.body?.dataset.ready === 'yes'")
            browser.key("ArrowRight")  # one step, by the person
            browser.until("document.body.dataset.step === '1'")
            assert browser.run("document.getElementById('by').value") == "human"
            taken = browser.run("JSON.stringify(moments.at(-1).action)")
            assert json.loads(taken) == {"catch": [0, 0, 1], "cartpole": [0, 1]}.get(name, [1])
            browser.run("document.getElementById('by').value = 'dream'")
            browser.key(" ", " ")  # play
            browser.until("Number(document.body.dataset.step) >= 5")
            browser.key(" ", " ")  # pause
            browser.until("!busy")
            stands = browser.run("document.body.dataset.step")
            browser.key("a")  # re-anchor
            browser.until("document.body.dataset.dreamed === '0'")
            assert browser.run("document.body.dataset.step") == stands
            images = browser.run("[...document.images].map((i) => i.naturalWidth).join()")
            assert images == {"catch": "64,64", "cartpole": "600"}.get(name, "500")
            assert browser.run("document.getElementById('imageless').hidden") == (name == "catch")
            drawn = browser.run("document.querySelectorAll('canvas').length")
            assert drawn == 3 + {"catch": 0, "cartpole": 4}.get(name, 3)
            browser.picture(tmp_path / "page.png")
            browser.key("r")
            browser.until("document.body.dataset.step === '0'")
            browser.run("chosen.action = ['x']; document.getElementById('by').value = 'human'")
            browser.key("n")
            browser.until("document.getElementById('trouble').textContent.includes('action')")
            blue = (31, 119, 180) if name != "catch" else (217, 95, 2)
            with Image.open(tmp_path / "page.png") as shown:
                assert blue in {c for _, c in shown.convert("RGB").getcolors(1 << 24)}
            errors = [each for each in browser.console if "400" not in json.dumps(each)]
            assert errors == []
        finally:
            browser.close()
