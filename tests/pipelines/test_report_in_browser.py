import pytest
import torch

from pipelines.main import main
from tests.helpers.browser import CHROMIUM, look
from tests.helpers.runs import logits_for, write_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

LABELS = torch.arange(90) % 3

WHOLE_PAGE = """
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.pictures = [...document.images].map((image) => [image.complete, image.naturalWidth, image.clientWidth]);
found.tables = document.querySelectorAll("table").length;
found.sideways = [...document.querySelectorAll(".scroll")].map((box) => box.scrollWidth > box.clientWidth + 1);
// an SVG is drawn at 96 pixels an inch, with letters of 9 pixels at least
found.scale = Math.min(...[...document.images].map((image) => image.clientWidth / image.naturalWidth));
found.small = Math.min(...[...document.querySelectorAll("td, th, p, small")].map(
  (each) => parseFloat(getComputedStyle(each).fontSize)));
"""

CONTENTS = """
const list = document.querySelector("nav"), heading = document.querySelector("h1");
found.beside = list.getBoundingClientRect().right <= heading.getBoundingClientRect().left;
const folded = document.querySelector("details:not([open])");
location.hash = folded.id;
window.dispatchEvent(new Event("hashchange"));
found.opened = folded.open;
window.scrollTo(0, document.documentElement.scrollHeight);
found.in_sight = list.getBoundingClientRect().bottom > 0;
const picture = document.querySelector(".picture"), image = picture.querySelector("img");
picture.click();
found.large = image.clientWidth >= 850;
found.paper = getComputedStyle(document.body).backgroundColor;
"""

SORTING = """
let table = document.querySelector("table"), heads = [...table.tHead.rows[0].cells];
const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
const click = (label) => {
  const head = heads.find((each) => each.textContent.startsWith(label));
  head.querySelector("button").click();
  return [names(), head.getAttribute("aria-sort"), heads.filter((each) => each.hasAttribute("aria-sort")).length];
};
found.first = names();
found.nll = click("nll");
found.nll_again = click("nll");
found.run = click("run");
found.focusable = heads.every((each) => each.querySelector("button").tabIndex === 0);
table = document.querySelectorAll("table")[1];
heads = [...table.tHead.rows[0].cells];
click("run");
found.parameters = click("parameters");
"""

FILTER = """
const input = document.querySelector(".filter input");
input.value = "RUN-7";
input.dispatchEvent(new Event("input"));
const rows = [...input.closest(".table").querySelectorAll("tbody tr")];
found.shown = rows.filter((row) => row.offsetHeight > 0).map((row) => row.cells[0].textContent);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for number in range(21):
        logits = logits_for(LABELS, 3, 1 + number / 10, number)
        write_run(root / "exp" / f"run-{number}_of_a_name_that_is_quite_long", logits, LABELS, config={"width": number})
    write_run(root / "exp" / "untested")
    assert main(["report", str(root), "--out", str(root / "report")]) == 0
    return root / "report/index.html"


@pytest.mark.parametrize("width", [400, 900, 1600])
def test_page__whole_and_without_errors(page, tmp_path, width):
    found, said = look(page, tmp_path, WHOLE_PAGE, width)
    assert said == []
    assert found["overflow"] == 0
    assert found["tables"] >= 5
    assert len(found["pictures"]) == 8
    assert all(complete and natural > 100 and shown > 100 for complete, natural, shown in found["pictures"])
    assert found["small"] >= 11
    # words of pictures can be read: they are as large as they were drawn, or nearly
    assert found["scale"] >= 0.85
    if width == 1600:
        assert not any(found["sideways"])


def test_page__pictures_are_not_white_in_the_dark(page, tmp_path):
    script = """
const card = document.querySelector(".picture"), image = card.querySelector("img");
found.dark = matchMedia("(prefers-color-scheme: dark)").matches;
found.card = getComputedStyle(card).backgroundColor;
found.blend = getComputedStyle(image).mixBlendMode;
"""
    found, said = look(page, tmp_path, script, flags=["--blink-settings=preferredColorScheme=0"])
    assert said == []
    assert found == {"dark": True, "card": "rgb(204, 210, 217)", "blend": "multiply"}


def test_page__contents_stay_in_sight_on_wide_screens(page, tmp_path):
    found, said = look(page, tmp_path, CONTENTS)
    assert said == []
    assert found == {"beside": True, "opened": True, "in_sight": True, "large": True, "paper": "rgb(255, 255, 255)"}
    narrow, _ = look(page, tmp_path, CONTENTS, 400)
    assert not narrow["beside"]
    assert narrow["large"]


def test_page__tables_sort(page, tmp_path):
    found, said = look(page, tmp_path, SORTING)
    assert said == []
    rising, direction, marked = found["nll_again"]
    assert (direction, marked) == ("ascending", 1)
    assert found["nll"][:2] == [rising[::-1], "descending"]
    assert rising != sorted(rising)
    # 10 comes after 9
    assert [int(name.split("-")[1].split("_")[0]) for name in found["run"][0]] == list(range(21))
    # all alike: the order stays
    assert found["parameters"][0] == found["run"][0]
    assert found["focusable"]


def test_look__hears_of_errors(page, tmp_path):
    assert len(look(page, tmp_path, "console.error('seen');")[1]) == 1


def test_page__long_tables_are_filtered(page, tmp_path):
    found, said = look(page, tmp_path, FILTER)
    assert said == []
    assert len(found["shown"]) == 1
    assert found["shown"][0].startswith("run-7_")
