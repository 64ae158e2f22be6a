"""Charts hold the numbers they are given."""

import re
import xml.etree.ElementTree as ET

import pytest

from dreamer_plugin.study.charts import Line, heat_map, line_chart, standing_alone
from dreamer_plugin.study.page import facts, page, picture, section, table

NAN = float("nan")


def paths(svg, kind):
    return [each for each in ET.fromstring(svg).iter("path") if each.get("class") == kind]


def test_points_stand_where_they_belong():
    (line,) = paths(line_chart("t", "x", [Line("a", [0, 10], [1.0, 3.0])]), "line")
    numbers = [float(n) for n in re.findall(r"[\d.]+", line.get("d"))]
    # The first point 4 from the left and bottom border of the axes, the last one from the others.
    assert numbers == [62.0, 212.0, 426.0, 30.0]


def test_a_chart_that_stands_alone_is_a_whole_file():
    chart = line_chart("t", "x", [Line("a", [0, 10], [1.0, 3.0])])
    root = ET.fromstring(standing_alone(chart))
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root) == 1 + len(
        ET.fromstring(chart)
    )
    assert standing_alone("") == ""


def test_numbers_that_are_none_are_left_out():
    svg = line_chart("t", "x", [Line("a", [0, 1, 2, 3], [1.0, None, NAN, 2.0])])
    assert paths(svg, "line")[0].get("d").count("L") == 1
    assert line_chart("t", "x", [Line("a", [0, 1], [None, NAN])]) == ""


def test_many_points_are_thinned_and_the_last_stays():
    svg = line_chart("t", "x", [Line("a", list(range(10_001)), [float(i) for i in range(10_001)])])
    (line,) = paths(svg, "line")
    assert 300 < line.get("d").count("L") <= 400
    assert line.get("d").endswith("426.0 30.0")


def test_a_constant_has_an_axis():
    assert "M62.0" in line_chart("t", "x", [Line("a", [0, 1], [5.0, 5.0])])


@pytest.mark.parametrize("name", ["<b>", "a & b", '"'])
def test_names_are_text(name):
    lines = [Line(name, [0, 1], [0.0, 1.0]), Line("b", [0, 1], [1.0, 0.0])]
    texts = [each.text for each in ET.fromstring(line_chart(name, "x", lines)).iter("text")]
    assert texts.count(name) == 2  # title and legend
    assert name not in page("t", [table((name,), [(name,)])]).replace('="', "") or name == '"'


def test_a_heat_map_has_a_cell_for_each_number():
    svg = heat_map("t", [[0.0, 1.0], [0.5, 0.25]], "x", "y")
    colours = [each.get("fill") for each in ET.fromstring(svg).iter("rect")]
    assert colours[:2] == ["rgb(255,255,255)", "rgb(8,48,107)"] and len(colours) == 4


def test_sections_without_content_are_left_out():
    assert section("nothing", "") == "" and table(("a",), []) == ""
    assert "data:image/gif;base64,R0lG" in picture("film", b"GIF89a")


def test_a_single_point_can_be_seen():
    svg = line_chart("t", "x", [Line("a", [400], [5.0])])
    (point,) = paths(svg, "point")
    assert paths(svg, "line") == [] and point.get("d").count("M") == 1
    assert ".point{stroke-width:6" in page("t", [svg])


def test_a_line_alone_is_named_where_others_are_empty():
    lines = [Line("a", [0, 1], [1.0, 2.0]), Line("b", [], [])]
    texts = [each.text for each in ET.fromstring(line_chart("t", "x", lines)).iter("text")]
    assert "a" in texts and "b" not in texts


def test_a_header_of_empty_cells_is_left_out():
    assert "<th>" not in facts({"steps": 3}) and "<th>" in table(("", "a"), [("n", 1)])
