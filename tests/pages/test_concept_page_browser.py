"""The page about a run's concepts in a browser: in silence, on a phone, in the dark, with the keyboard, filtered."""

import json

import pytest
from browser import CHROMIUM, WHY_NOT, Browser
from linear_run import LinearRun, SparseRun, by_name, data_of, large_page, page_of

ATTACK = "<script>alert(1)</script>"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)


@pytest.fixture
def run(tmp_path):
    return LinearRun(tmp_path / "images")


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


CARDS = "[...document.querySelectorAll('#concept-list h3')].map(h => h.textContent)"


def count(browser, list_id):
    return browser.evaluate(f"document.querySelectorAll('#{list_id} > li').length")


def choose(browser, element, value):
    browser.evaluate(
        f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input')) }})"
        f"(document.getElementById('{element}'))"
    )


def enter(browser):
    """The key with the character that it types, without which a summary does not open."""
    key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    browser._call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
    browser._call("Input.dispatchKeyEvent", type="keyUp", **key)


def lines_of_tables(browser):
    """(label, value, value as it is shown) of each line of each table of bars."""
    return browser.evaluate("""[...document.querySelectorAll('.bars')].map(t => [...t.rows].map(r =>
        [r.cells[0].textContent, Number(r.dataset.value), Number(r.cells[2].textContent.replace('−', '-'))]))""")


def quiet(browser, page):
    """No error, and nothing asked for but the page and what is in it."""
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.resolve().as_uri()]


@pytest.mark.parametrize("width, dark", [(1200, False), (1200, True), (390, False), (390, True)])
def test_it_opens_without_an_error_or_a_request(tmp_path, run, browser, width, dark):
    page = page_of(tmp_path, run)
    browser.open(page, "#class-1", width=width, dark=dark)
    quiet(browser, page)
    sizes = browser.evaluate("[...document.images].map(i => i.complete ? i.naturalWidth : 0)")
    assert len(sizes) > 40 and min(sizes) > 0
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper, bar = ("rgb(20, 23, 28)", "rgb(47, 125, 80)") if dark else ("rgb(255, 255, 255)", "rgb(63, 143, 95)")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    assert browser.evaluate("getComputedStyle(document.querySelector('.bars .for')).backgroundColor") == bar
    assert browser.screenshot(tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.parametrize("width, dark", [(1200, False), (390, True)])
def test_a_sparse_page_lists_few_concepts_and_nothing_else(tmp_path, browser, width, dark):
    run = SparseRun(tmp_path / "images")
    page = page_of(tmp_path, run)
    browser.open(page, "#class-1", width=width, dark=dark)
    quiet(browser, page)
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    data, tables = data_of(page.read_text(encoding="utf-8")), lines_of_tables(browser)
    assert len(tables) >= 8 + 4 + 1
    for *lines, (what, total, _) in tables:
        *concepts, (last, _, _) = lines
        assert 1 <= len(concepts) <= (3 if what == "logit" else 6) and last == "class name"
        assert all("concept " in name for name, _, _ in concepts)
        assert sum(value for _, value, _ in lines) == pytest.approx(total, abs=1e-5)
    cards = browser.evaluate("[...document.querySelectorAll('.card')].map(e => e.innerText)")
    assert len(cards) == 12
    for text, one in zip(cards, data["concepts"]):
        k = int(one["name"].split()[1])
        assert text.startswith(run.concepts.title(k) + "\n")
        assert (f"{k % 4 * 5} other names fit its images better" if k % 4 else "no other name fits its images") in text
        also = ", ".join(run.concepts.synonyms[k][:3]) + (f" and {k % 6 - 3} more" if k % 6 > 3 else "")
        assert (f"\nalso: {also}\n" in text) == bool(k % 6)
    choose(browser, "concept-search", "SYNONYM 2 of 1")
    assert browser.evaluate(CARDS) == ["looks like concept 11", "looks like concept 10"]


def test_concepts_are_filtered_and_ordered(tmp_path, run, browser):
    page = page_of(tmp_path, run)
    browser.open(page)
    data = data_of(page.read_text(encoding="utf-8"))
    assert count(browser, "concept-list") == 12
    choose(browser, "concept-kind", "1")  # part: concepts 1, 4, 7, 10
    assert browser.evaluate(CARDS) == ["concept 10", "concept 7", "concept 4", "concept 1"]
    assert browser.evaluate("document.getElementById('concept-count').textContent") == "4 of 12 concepts"
    choose(browser, "concept-order", "name")
    assert browser.evaluate(CARDS) == ["concept 1", "concept 10", "concept 4", "concept 7"]
    choose(browser, "concept-search", "CEPT 1")
    assert browser.evaluate(CARDS) == ["concept 1", "concept 10"]
    choose(browser, "concept-search", "")
    choose(browser, "concept-kind", "")
    assert browser.evaluate("document.querySelector('#concept-order [value=weight]').disabled") is True
    choose(browser, "concept-class", "2")
    choose(browser, "concept-order", "weight")
    marks = by_name(data, data["classes"][2]["marks"])
    shown = browser.evaluate(CARDS)
    pictured = {f"concept {k}" for k in range(12) if any(row // 3 == 2 for row in run.concepts.picks[k])}
    assert set(shown) == set(marks) | pictured
    weights = [marks.get(name, 0) for name in shown]
    assert weights == sorted(weights, reverse=True) and weights[0] > 0
    lacked = {data["concepts"][k]["name"] for k in data["classes"][2]["marks"]["lacked"]}
    lacks = [", by what it lacks" if name in lacked else "" for name in shown if name in marks]
    texts = browser.evaluate("[...document.querySelectorAll('#concept-list .weight')].map(e => e.textContent)")
    assert texts[0] == f"+{weights[0]:.3f} for class 2{lacks[0]}"
    assert [text.partition("class 2")[2] for text in texts] == lacks and len(set(lacks)) == 2
    choose(browser, "concept-class", "")
    assert browser.evaluate("document.getElementById('concept-order').value") == "distinctive"
    quiet(browser, page)


def test_classes_and_test_images_are_filtered(tmp_path, run, browser):
    page = page_of(tmp_path, run)
    browser.open(page)
    assert count(browser, "class-list") == 4 and count(browser, "example-list") == 8
    choose(browser, "class-search", "s 3")
    assert browser.evaluate("document.querySelector('#class-list .name').textContent") == "class 3"
    choose(browser, "class-search", "")
    choose(browser, "class-order", "worst")
    right = "[...document.querySelectorAll('#class-list .right small')].map(e => parseFloat(e.textContent))"
    shares = [share for share in browser.evaluate(right) if share is not None]
    assert shares == sorted(shares) and len(set(shares)) > 1
    verdicts = "[...document.querySelectorAll('.verdict')].map(e => e.textContent)"
    choose(browser, "example-which", "wrong")
    assert browser.evaluate(verdicts) == ["mistake"] * 4
    choose(browser, "example-which", "right")
    assert browser.evaluate(verdicts) == ["right"] * 4
    choose(browser, "example-which", "")
    choose(browser, "example-class", "1")
    pairs = zip(run.examples.labels, run.examples.predictions)
    assert count(browser, "example-list") == sum(1 in pair for pair in pairs) > 0
    quiet(browser, page)


def test_bars_add_up_to_the_logit(tmp_path, run, browser):
    page = page_of(tmp_path, run)
    browser.open(page, "#class-0")
    tables = lines_of_tables(browser)
    assert len(tables) >= 2 * (8 + 4 + 1)
    for *lines, (_, total, total_shown) in tables:
        assert sum(value for _, value, _ in lines) == pytest.approx(total, abs=1e-4)
        assert sum(shown for _, _, shown in lines) == pytest.approx(total_shown, abs=0.06)
    logits = run.logits(run.examples.features)
    shown = [lines[-1] for lines in tables if lines[-1][0] == "logit"]
    for k, (_, value, text) in enumerate(shown):
        expected = float(logits[k, run.examples.predictions[k]])
        assert value == pytest.approx(expected, rel=1e-4) and text == pytest.approx(expected, abs=0.05)
    labels = browser.evaluate(
        "[...document.querySelectorAll('#example-0 .bars:nth-child(2) th')].map(e => e.textContent)"
    )
    data = data_of(page.read_text(encoding="utf-8"))
    parts = data["examples"][0]["parts"]
    named = [("not " if k in parts["lacked"] else "") + data["concepts"][k]["name"] for k, _ in parts["concepts"]]
    assert labels[: len(named)] == named and parts["lacked"]
    lengths = browser.evaluate("""[...document.querySelector('.bars').rows].slice(0, -1).map(r =>
        [Number(r.dataset.value), r.querySelector('.bar span').getBoundingClientRect().width])""")
    longest = max(abs(value) for value, _ in lengths)
    widest = max(width for _, width in lengths)
    for value, width in lengths:
        assert width == pytest.approx(abs(value) / longest * widest, abs=1.5)


def test_it_is_used_with_the_keyboard(tmp_path, run, browser):
    page = page_of(tmp_path, run)
    browser.open(page)
    focus = "document.activeElement.id || document.activeElement.textContent"
    reached = []
    for _ in range(60):
        browser.press("Tab")
        reached.append(browser.evaluate(focus))
        if reached[-1].startswith("class 0"):
            break
    filters = ["concept-search", "concept-kind", "concept-class", "concept-order", "class-search", "class-order"]
    assert reached[0] == "Skip to the concepts" and [name for name in reached if name in filters] == filters
    enter(browser)
    assert browser.evaluate("document.querySelector('#class-0 details').open") is True
    browser.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")  # toggle comes a task later
    assert browser.evaluate("document.querySelectorAll('#class-0 .bars').length") >= 2
    browser.press("Tab")
    name = browser.evaluate("document.activeElement.textContent")
    assert name in run.concepts.names
    choose(browser, "concept-search", "no such concept")
    assert count(browser, "concept-list") == 0
    enter(browser)  # the concept's card, whatever the filters were
    assert browser.evaluate("document.querySelector('.card:target h3').textContent") == name
    browser.evaluate("document.getElementById('concept-kind').focus()")
    browser.press("ArrowDown")
    assert count(browser, "concept-list") == 4
    quiet(browser, page)


def test_from_a_class_to_its_concepts_in_the_gallery(tmp_path, run, browser):
    page = page_of(tmp_path, run)
    browser.open(page, "#class-3")
    assert browser.evaluate("document.querySelector('#class-3 details').open") is True
    browser.evaluate("document.querySelector('#class-3 button').click()")
    assert browser.evaluate("document.getElementById('concept-class').selectedOptions[0].text") == "class 3"
    assert browser.evaluate("document.getElementById('concept-order').value") == "weight"
    quiet(browser, page)


def test_names_do_no_harm_in_a_browser(tmp_path, browser):
    names = [ATTACK, "<img src=x onerror=alert(1)>", "a\nb" * 60, "\ud800"]
    page = page_of(tmp_path, LinearRun(tmp_path / "images", names=names, concept_names=names))
    browser.open(page, "#class-0", width=390)
    quiet(browser, page)
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate("document.querySelector('#class-0 .name').textContent") == ATTACK
    assert browser.evaluate("document.querySelectorAll('main script, main [src=x]').length") == 0


def test_a_bundles_page_has_empty_fields(tmp_path, browser):
    page = page_of(tmp_path, LinearRun())
    browser.open(page, "#class-2")
    quiet(browser, page)
    assert browser.evaluate("document.images.length") == 0
    assert browser.evaluate("document.querySelectorAll('.card .gap').length") == 36
    assert browser.evaluate("document.querySelector('.seen .gap').getAttribute('aria-label')").startswith("no picture")
    assert browser.evaluate("document.querySelectorAll('#class-2 .bars').length") >= 2


def test_a_thousand_classes_open(tmp_path, browser):
    large = large_page(tmp_path)
    browser.open(large, "#class-777")
    quiet(browser, large)
    assert browser.evaluate("document.querySelector('#class-777 details').open") is True
    assert count(browser, "concept-list") == 60
    browser.evaluate("document.getElementById('concept-more').click()")
    assert count(browser, "concept-list") == 120
    assert browser.evaluate("document.activeElement === document.getElementById('concept-list').children[60]")
    choose(browser, "class-search", "class 99")
    assert count(browser, "class-list") == 11  # 99 and 990 to 999
