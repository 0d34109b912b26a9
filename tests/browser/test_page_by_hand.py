"""What an operator does with the page: read, copy, search, walk through the pairs, print, share."""

import dataclasses
import json
import re

import pytest

from k3sfw_engine.fleet.answers import CheckedPart
from k3sfw_engine.fleet.read_answers import read_saved
from tests.headless_chromium import opened
from tests.page_files import fleet_of, never_asked, page_of
from tests.simulated_fleet import Fault, simulated_fleet

# Everything that has tempted a browser to run or to hide something.
HOSTILE = (
    "</script><img src=x onerror=document.hostile=1>",
    "\"'><svg onload=document.hostile=1>",
    "<!--<script>document.hostile=1</script>",
    "javascript:document.hostile=1",
    "‮gnp.exe",
    "{{ 7 * 7 }}",
)


def cell_label(found):
    return found.page.locator("#cell").get_attribute("aria-label")


def press(found, *keys):
    for key in keys:
        found.page.keyboard.press(key)


def test_without_scripts_everything_but_the_walk_is_there(browser, file_of):
    with opened(browser, file_of(5), scripts=False) as found:
        assert found.page.locator("h1").is_visible()
        fixes = found.texts_of(".problem code.command")
        assert "salt a2 state.apply k3s.firewall" in fixes
        assert found.texts_of("button, .search, canvas") == []
        assert found.page.locator("table.pairs").first.is_visible()
        assert found.page.locator("table.roles").first.is_visible()


def test_without_scripts_many_nodes_are_a_picture(browser, file_of):
    with opened(browser, file_of(300), scripts=False) as found:
        picture = found.page.locator("figure img").first
        assert picture.is_visible()
        assert "8 exposed" in picture.get_attribute("alt")


def test_the_button_copies_exactly_the_fix(browser, file_of):
    options = {"permissions": ["clipboard-read", "clipboard-write"]}
    with opened(browser, file_of(5), **options) as found:
        problem = found.page.locator(".problem:has(code.command)").first
        fix = problem.locator("code.command").first.text_content()
        problem.locator("button.copy").first.click()
        found.page.wait_for_function("document.querySelector('.copy').closest('.problem') !== null")
        found.page.locator("#found", has_text="Copied").wait_for()
        assert found.page.evaluate("navigator.clipboard.readText()") == fix


def test_every_cell_is_reached_by_the_keyboard_alone(browser, file_of):
    with opened(browser, file_of(5)) as found:
        # From the search field on, by Tab, as a reader without a mouse comes here.
        found.page.locator("#search").focus()
        for _each in range(200):
            press(found, "Tab")
            if found.page.evaluate("document.activeElement.id") == "cell":
                break
        press(found, "Control+Home")
        reached = set()
        for _line in range(5):
            press(found, "Home")
            for _column in range(5):
                reached.add(tuple(cell_label(found).split(",")[0].split(" to ")))
                press(found, "ArrowRight")
            press(found, "ArrowDown")
        names = ["s1", "s2", "s3", "a1", "a2"]
        assert reached == {(one, other) for one in names for other in names}


def test_the_keyboard_finds_the_problem_and_its_evidence(browser, file_of):
    with opened(browser, file_of(300)) as found:
        found.page.locator("#row").select_option(label="udp/8472 row_8472")
        found.page.locator("#cell").focus()
        press(found, "n")
        said = found.text_of("#said")
        assert " to a120, udp/8472 row_8472: blocked, and must be open" in said
        press(found, "Enter")
        listed = found.texts_of("#pair tbody tr")
        assert any("8472" in line and "blocked" in line for line in listed)
        assert any("6443" in line or "443" in line for line in listed)


def test_the_address_shows_a_colleague_the_same(browser, file_of):
    with opened(browser, file_of(300)) as found:
        found.page.locator("#row").select_option(label="udp/8472 row_8472")
        found.page.locator("#cell").focus()
        press(found, "n")
        address, label = found.page.url, cell_label(found)
    fragment = address[address.index("#") :]
    with opened(browser, file_of(300), fragment=fragment) as other:
        assert cell_label(other) == label
        assert other.text_of("#said").startswith(label.rstrip("."))


def test_one_field_finds_nodes_ports_rows_and_addresses(browser, file_of):
    with opened(browser, file_of(300)) as found:
        address = fleet_of(300).nodes["a120"].addresses[0]
        for text in ("a120", "8472", "row_8472", address):
            found.page.locator("#search").fill(text)
            shown = found.texts_of(".searched")
            assert shown, text
            words = found.page.locator(".searched:not([hidden])").evaluate_all(
                "all => all.map(each => each.dataset.words)"
            )
            assert all(text in each for each in words)
        found.page.locator("#search").fill("")
        assert found.texts_of(".problem") != []
        found.page.locator("#search").fill("nothing has this name")
        assert found.texts_of(".searched") == []


def test_the_chosen_line_and_column_are_shown_as_a_table(browser, file_of):
    with opened(browser, file_of(5)) as found:
        found.page.locator("#as-table").click()
        captions = found.texts_of("#pair-table caption")
        assert [each.split(",")[0] for each in captions] == ["From s1", "To s2"]
        lines = found.texts_of("#pair-table table:first-of-type tbody th")
        assert {"s1", "s2", "s3", "a1", "a2"} <= set(lines)


def test_a_pair_that_was_never_asked_is_not_shown_as_good(browser, write_page):
    fleet = never_asked(simulated_fleet(30))
    with opened(browser, write_page(fleet)) as found:
        counts = dict(
            line.rsplit(" ", 1)
            for line in (each.replace("\n", " ") for each in found.texts_of("[data-family]"))
        )
        asked = sum(len(answer.asked.peers) for answer in fleet.answers.values())
        never = next(number for name, number in counts.items() if "never asked" in name)
        assert int(never) == 30 * 29 - asked


def test_a_narrow_window_lists_the_worst_nodes(browser, file_of):
    with opened(browser, file_of(300), width=390) as found:
        worst = found.texts_of("#worst li")
        assert len(worst) == 20
        assert any(line.startswith("a120:") for line in worst)
    with opened(browser, file_of(300), width=1280) as found:
        assert found.texts_of("#worst li") == []


def hostile_fleet():
    """A cluster in which every text that a minion or a pillar may choose is hostile."""
    fleet = simulated_fleet(5, [Fault("rejects", "s1", "6443"), Fault("silent", "a2")])
    every = " ".join(HOSTILE)
    answers = {}
    for name, answer in fleet.answers.items():
        parts = {
            kind: CheckedPart(
                part.status,
                every,
                part.counts,
                tuple(
                    dataclasses.replace(
                        each, description=every, evidence=every, hint=hint, by=every
                    )
                    for each, hint in zip(part.problems, HOSTILE * 9)
                ),
                HOSTILE,
            )
            for kind, part in answer.parts.items()
        }
        answers[name] = dataclasses.replace(answer, parts=parts, version=every, tables=every)
    renamed = dict(zip(fleet.nodes, (*HOSTILE[:4], "a2")))

    def rename(value):
        text = json.dumps(value)
        for old, new in renamed.items():
            text = text.replace(json.dumps(old), json.dumps(new))
        return json.loads(text)

    tree = rename(dataclasses.replace(fleet, answers=answers, cluster=every).as_dict())
    tree["silent"] = ["a2"]
    tree["reasons"] = {"a2": every}
    for row in tree["tables"]["ports"]["cluster"].values():
        row["description"] = every
    return read_saved(json.dumps(tree))


@pytest.mark.parametrize("scripts", [True, False])
def test_hostile_texts_stay_texts(browser, write_page, scripts):
    cluster = hostile_fleet()
    with opened(browser, write_page(cluster), scripts=scripts) as found:
        if scripts:
            found.page.locator("#cell").focus()
            press(found, "n", "Enter", "ArrowDown", "Enter")
            found.page.locator("#as-table").click()
            found.page.locator("#search").fill("</script>")
        assert found.page.evaluate("document.hostile") is None
        assert found.page.locator("img[src=x], svg, main script").count() == 0
        assert found.said == []
        assert [url for url in found.requested if not url.startswith(("data:", "file:"))] == []
        text = found.page.locator("main").text_content()
        assert HOSTILE[0] in text
        assert "{{ 7 * 7 }}" in text
        assert "‮" not in text
        assert found.texts_of("button.copy") == []


def test_the_download_is_what_the_page_is_built_from(browser, file_of):
    file = file_of(5)
    with opened(browser, file) as found:
        with found.page.expect_download() as download:
            found.page.locator("#download").click()
        saved = download.value.path().read_text()
        assert re.fullmatch(
            r"k3sfw-production-\d{8}-\d{4}\.json", download.value.suggested_filename
        )
    assert page_of(read_saved(saved)) == file.read_text()


def test_print_has_the_headline_the_problems_and_page_numbers(browser, file_of, tmp_path):
    for nodes, most in ((5, 8), (300, 30)):
        with opened(browser, file_of(nodes)) as found:
            pdf = tmp_path / f"{nodes}.pdf"
            found.page.pdf(path=pdf, prefer_css_page_size=True)
            pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
            assert 2 <= pages <= most
            found.page.emulate_media(media="print")
            assert found.texts_of(".bar, .controls, button") == []
            assert found.page.locator("h1").is_visible()
            assert found.texts_of(".problem code.command") != []


@pytest.mark.parametrize(
    "options", [{"forced_colors": "active"}, {"contrast": "more"}, {"reduced_motion": "reduce"}]
)
def test_the_page_follows_what_the_reader_has_chosen(browser, file_of, options):
    with opened(browser, file_of(5), **options) as found:
        moves = found.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior")
        assert (moves == "auto") == ("reduced_motion" in options)
        # Cells with a problem do not look like cells without, whatever the colours are.
        colors = found.page.evaluate(
            """() => {
              const canvas = document.getElementById("canvas");
              const context = canvas.getContext("2d");
              const cell = document.getElementById("cell");
              const seen = {};
              cell.dispatchEvent(new KeyboardEvent("keydown", {key: "Home", ctrlKey: true}));
              for (let at = 0; at < 5; at += 1) {
                const scale = canvas.width / canvas.clientWidth;
                const x = (cell.offsetLeft + 3) * scale, y = (cell.offsetTop + 3) * scale;
                const found = context.getImageData(x, y, 1, 1).data.slice(0, 3).join();
                seen[cell.getAttribute("aria-label").split(":")[1].split(",")[0].trim()] = found;
                cell.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
              }
              return seen;
            }"""
        )
        assert colors["blocked"] != colors["open"]
