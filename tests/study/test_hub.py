"""Push and pull through the hub's own client, against a stand-in server."""

import json

import pytest

from dreamer_plugin import Dreamer
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.study import hub as places
from dreamer_plugin.study.share import Terms, pull, push
from tests.study.hub_server import COMMIT, serving

QUICK = Terms(episodes=0, private=True)


@pytest.fixture(scope="module")
def run(repo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "run"
    tiny = repo / "tests" / "run" / "tiny.yaml"
    Dreamer("gym/CartPole-v1", config=tiny).save(folder, replay=False)
    return folder


@pytest.fixture
def hub(monkeypatch):
    pytest.importorskip("huggingface_hub")
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", "hf_a_token_of_these_tests")
        yield found


def test_there_and_back(hub, run, tmp_path):
    where = push(run, "hf://me/cart", "latest", QUICK)
    assert where == f"{hub.address}/me/cart/commit/{COMMIT}"
    assert hub.private == {"me/cart": True}
    files = hub.repositories["me/cart"]
    assert {"share.json", "README.md", "config.yaml"} < set(files)
    assert {name.rpartition(".")[2] for name in files} <= {"json", "md", "safetensors", "yaml"}
    assert b"dreamer-plugin pull hf://me/cart FOLDER" in files["README.md"]
    assert b"hf_a_token" not in b"".join(files.values())
    assert "Bearer hf_a_token_of_these_tests" in hub.tokens
    facts = pull("hf://me/cart", tmp_path / "theirs")
    assert facts["env"] == "gym/CartPole-v1"
    listed = json.loads((tmp_path / "theirs" / "share.json").read_text())["files"]
    lying = {
        p.relative_to(tmp_path / "theirs").as_posix() for p in (tmp_path / "theirs").rglob("*.*")
    }
    assert lying == {*listed, "share.json"}
    Dreamer.load(tmp_path / "theirs", device="cpu").predict([0.0] * 4)


def test_what_is_not_listed_is_not_fetched(hub, run, tmp_path):
    push(run, "hf://me/cart", "latest", QUICK)
    hub.repositories["me/cart"]["evil.py"] = b"import os"
    hub.asked.clear()
    pull("hf://me/cart", tmp_path / "theirs")
    assert hub.asked and not [line for line in hub.asked if "evil" in line]


def test_a_changed_file_is_noticed(hub, run, tmp_path):
    push(run, "hf://me/cart", "latest", QUICK)
    hub.repositories["me/cart"]["config.yaml"] += b"# more\n"
    with pytest.raises(CheckpointError, match="config.yaml is missing, cut short or grown"):
        pull("hf://me/cart", tmp_path / "theirs")
    assert list(tmp_path.iterdir()) == []


def test_a_second_push_replaces_what_the_first_left(hub, run):
    push(run, "hf://me/cart", "latest", QUICK)
    files = hub.repositories["me/cart"]
    before, kept = set(files), "notes.txt"
    old = ("evaluation.json", "metrics.jsonl", "checkpoints/step-000000007/agent.json")
    files.update(dict.fromkeys((*old, kept), b"{}"))
    push(run, "hf://me/cart", "latest", QUICK)
    assert set(hub.repositories["me/cart"]) == before | {kept}


def test_what_the_hub_says_is_one_line(hub, run, tmp_path):
    with pytest.raises(CheckpointError, match="Cannot fetch share.json of hf://me/none: "):
        pull("hf://me/none", tmp_path / "theirs")
    hub.refuses = True
    with pytest.raises(UsageError, match="The hub did not take hf://me/cart: ") as raised:
        push(run, "hf://me/cart", "latest", QUICK)
    assert "\n" not in str(raised.value)


def test_a_hub_that_is_out_of_reach_is_one_line(hub, run, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="The hub did not take hf://me/cart: "):
        push(run, "hf://me/cart", "latest", QUICK)


def test_a_revision_is_read_and_not_written(run, monkeypatch):
    monkeypatch.setattr(places, "find_spec", lambda name: True)
    assert places.parse("hf://me/cart@v1.0") == ("me/cart", "v1.0")
    assert places.parse("hf://me/cart") == ("me/cart", None)
    with pytest.raises(UsageError, match="leave out @v1.0"):
        push(run, "hf://me/cart@v1.0", "latest", QUICK)


@pytest.mark.parametrize(
    "text", ["hf://me", "hf://me/a/b", "hf://../etc", "hf://me/", "hf://a b/c", "hf://me/x@"]
)
def test_what_is_no_place(text):
    with pytest.raises(UsageError, match="is no place on the hub: write hf://user/name"):
        places.parse(text)


def test_the_extra_is_named_before_anything_is_played(run, monkeypatch):
    monkeypatch.setattr(places, "find_spec", lambda name: None)
    for call in (lambda: push(run, "hf://me/a", "latest"), lambda: pull("hf://me/a", "x")):
        with pytest.raises(
            UsageError, match=r"huggingface_hub: pip install 'dreamer-plugin\[hub\]'"
        ):
            call()
