"""Pages of the documents that are made from the settings, or name them."""

import re

import dreamer_envs
from dreamer_plugin.config.fields import OPTIONS, key_types
from tests.config import family_table

SECTIONS = ("model", "nets", "world", "behavior", "loss_scales", "optim", "replay", "env", "run")
KEY = re.compile(rf"(?:^|[\s(])((?:{'|'.join(SECTIONS)})(?:\.[a-z_0-9]+)+)(?![\w/])")
# Parts of Python objects; words of other libraries, where tests/packaging/test_site.py looks.
NOT_OURS = ("torchrl.md", "migrate.md")
METRIC = re.compile(r"`((?:loss|weight)/[a-z_]+|[a-z_]+)`")


def test_the_table_of_the_family_is_that_of_the_files():
    text = family_table.PAGE.read_text(encoding="utf-8")
    assert text == family_table.page(text), "run python -m tests.config.family_table"


def test_the_table_sees_a_change():
    found = family_table.agents()
    assert "behavior.imag_horizon" not in family_table.differing(found)  # 15 in all of them
    found["v1"]["behavior.imag_horizon"] = 10
    assert "behavior.imag_horizon" in family_table.differing(found)


def env_options():
    """Options of the suites as the command line takes them."""
    for suite in dreamer_envs.available():
        yield from (f"env.{option}" for option in dreamer_envs.options(suite.name))


def test_settings_that_the_documents_name_exist():
    """Whole keys, and sections such as `world.encoder`; rooms of the package share some words."""
    keys = set(key_types()) | set(env_options())
    known = keys | {key[:at] for key in keys for at in range(len(key)) if key[at] == "."}
    named = set()
    for path in [*family_table.REPO.joinpath("docs").glob("*.md"), family_table.REPO / "README.md"]:
        if path.name not in NOT_OURS:
            for code in re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8")):
                named |= {(path.name, key) for key in KEY.findall(code)}
    assert len(named) > 100  # or the pattern finds nothing
    unknown = {(page, key) for page, key in named if key not in known}
    package = family_table.REPO / "dreamer_plugin"
    modules = {f"{file.parent.name}.{file.stem}" for file in package.glob("*/*.py")}
    words = {(page, key) for page, key in unknown if not key.startswith(OPTIONS)}
    assert {(page, key) for page, key in words if key not in modules} == set()


def test_metrics_that_the_pitfalls_name_exist():
    """The left column: each name is a text in the code that writes it, or a weighted loss."""
    package = family_table.REPO / "dreamer_plugin"
    rooms = ("agent.py", "behavior/actor_critic.py", "run/training.py", "run/evaluate.py")
    rooms += ("study/quality.py", "world/balance.py")
    written = "".join((package / room).read_text(encoding="utf-8") for room in rooms)
    losses = {f"loss/{key.split('.')[1]}" for key in key_types() if key.startswith("loss_scales.")}
    page = (family_table.REPO / "docs" / "pitfalls.md").read_text(encoding="utf-8")
    symptoms = [row.split(" | ")[0] for row in page.splitlines() if row.startswith("| ")]
    named = {name for symptom in symptoms for name in METRIC.findall(symptom)}
    assert len(named) > 10
    pattern = r"""["'/]{}["']"""  # whole, or the end of a name with a slash
    unknown = {n for n in named - losses if not re.search(pattern.format(re.escape(n)), written)}
    assert unknown == set()
