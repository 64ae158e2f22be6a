"""Plain YAML only."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dreamer_plugin.config.yamlfile import MAX_BYTES, parse_yaml, read_yaml, write_text, yaml_text
from dreamer_plugin.errors import UsageError

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
REFUSED = {
    "x: ${oc.env:HOME}": "'${'",
    "${a}: 1": "'${'",
    "x: [a, '${y}']": "'${'",
    "x: ???": "'???'",
    BOMB: "aliases",
    "x: 1\nx: 2": "sets 'x' twice",
    "x: {a: 1, a: 2}": "sets 'a' twice",
    "1: x": "quote it",
    "x: 2020-01-02": "quote it",
    "x: 2020-13-45": "not valid YAML",
    "x: !!binary aGk=": "quote it",
    "x: !!set {a, b}": "quote it",
    "x: [1, .nan]": "not a number",
    "x: !!python/object/apply:os.system [ls]": "not valid YAML",
    "x: [1": "not valid YAML (line 1)",
    "[" * 50 + "]" * 50: "nested deeper",
    "[" * 3000: "not valid YAML",
    "x: @": "not valid YAML",
    "\x00": "not valid YAML",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:20]))
def test_refused_with_one_line(text):
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, "my.yaml")
    message = str(caught.value)
    assert REFUSED[text] in message and message.startswith("my.yaml")
    assert "\n" not in message


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="Cannot read .*none.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="Cannot read"):
        read_yaml(tmp_path)
    (tmp_path / "large.yaml").write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match="larger than 256 kB"):
        read_yaml(tmp_path / "large.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe\xfa")
    with pytest.raises(UsageError, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match="holds a list, not `key: value` lines"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_writing_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.yaml"
    write_text("seed: 1\n", path)
    with pytest.raises(UnicodeEncodeError):
        write_text("\ud800", path)
    assert path.read_text() == "seed: 1\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.yaml"]


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_a_usage_error(data):
    try:
        parse_yaml(data.decode("utf-8", "replace"), "fuzz")
    except UsageError as error:
        assert str(error).startswith("fuzz")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_what_is_written_is_read(value):
    text = yaml_text({"x": value})
    assert parse_yaml(text, "x") == yaml.safe_load(text) == {"x": value}
