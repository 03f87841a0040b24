"""The page: its numbers, that data stays data, that what is broken is named, and that a browser opens it in silence."""

import html
import json
import math
import re
import sys

import pytest
from browser import CHROMIUM, WHY_NOT, Browser
from helpers import script

from ccli.results.records import write_record

ATTACK = "<script>alert(1)</script>"
in_browser = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)


def run(
    folder, predictions, labels=(0, 0, 1, 1), names=("dotted", "lined"), trainer="CCLI", dataset="dtd", shots=16,
    seed=1, **fields,
):  # fmt: skip
    """A record with these predictions in OUT/dataset/trainer/shots/seed."""
    right = [p == label for p, label in zip(predictions, labels, strict=True)]
    record = {
        "dataset": dataset, "trainer": trainer, "cfg": "rn50", "backbone": "RN50", "shots": shots, "seed": seed,
        "protocol": "validation", "selected_by": "validation", "correct": sum(right), "total": len(right),
        "accuracy": 100 * sum(right) / len(right),
        "per_class": [
            {"name": n, "correct": sum(r for r, t in zip(right, labels) if t == k), "total": list(labels).count(k)}
            for k, n in enumerate(names)
        ],
        "predictions": list(predictions), "labels": list(labels), "hyper_parameters": {"alpha": 0.5},
        "seconds": {"encode": 1.0, "fit": 2.0, "select": 0.25, "test": 0.5}, "versions": {"python": "3.11.2"},
        "config": {},
    }  # fmt: skip
    write_record(folder, record | fields)
    return folder


@pytest.fixture
def out(tmp_path):
    """Two seeds of CCLI, 75 % and 100 %, and one of GDA, 50 %; each on four images of two classes."""
    out = tmp_path / "out"
    run(out / "ccli1", [0, 0, 1, 0])
    run(out / "ccli2", [0, 0, 1, 1], seed=2, hyper_parameters={"alpha": 2.3770000000000002}, selected_by="default")
    run(out / "gda1", [0, 1, 0, 1], trainer="GDA", hyper_parameters={"a": 10}, versions={"python": "3.12", "gpu": None})
    return out


def report(*argv):
    return script("report").main([str(argument) for argument in argv])


def page_of(tmp_path, *argv):
    assert report(*argv, "--to", tmp_path / "page.html") == 0
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def rows(page, section):
    """The table rows of a section as lists of texts."""
    part = page.partition(f'<section id="{section}"')[2].partition("</section>")[0]
    lines = re.findall(r"<tr.*?</tr>", part, re.DOTALL)
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", line, re.DOTALL) for line in lines]
    return [[" ".join(html.unescape(re.sub(r"<.*?>", " ", cell)).split()) for cell in line] for line in cells]


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="run-data">(.*?)</script>', page)[1])


def test_tables_hold_the_numbers(tmp_path, out):
    page = page_of(tmp_path, out, "--against", "GDA")
    # CCLI: 75 and 100, mean 87.5, deviation sqrt(2 * 12.5 ** 2) = 17.68; on seed 1, 25 points above GDA
    deviation = math.sqrt(2 * 12.5**2)
    table = rows(page, "tables")
    assert table[:4] == [
        ["method", "dtd, 16 shots"],
        ["GDA", "50.00 1 seed"],
        ["CCLI", f"87.50 ± {deviation:.2f} +25.00 to GDA"],
        ["CCLI to the best other", "+25.00 GDA, 1 seed"],
    ]
    assert "<strong>87.50" in page and "<strong>50.00" not in page
    assert table[4:] == [["comparison", "pairs", "difference", "p", "better, worse"]] + [
        ["CCLI against GDA", "1", "+25.00", "1", "0, 0 of 1"]
    ]
    assert rows(page, "time") == [
        ["method", "runs", "encode", "fit", "select", "test", "sum"],
        ["GDA", "1", "1.000", "2.000", "0.250", "0.500", "3.750"],
        ["CCLI", "2", "1.000", "2.000", "0.250", "0.500", "3.750"],
    ]
    assert rows(page, "hyper-parameters") == [
        ["data set", "chosen on", "shots", "seed", "a"], ["dtd", "validation", "16", "1", "10"],
        ["data set", "chosen on", "shots", "seed", "alpha"],
        ["dtd", "validation", "16", "1", "0.5"], ["dtd", "default", "16", "2", "2.377"],
    ]  # fmt: skip
    assert rows(page, "environment") == [
        ["runs", "python", "gpu"], ["2", "3.11.2", ""], ["1", "3.12", "null"],
    ]  # fmt: skip


def test_one_block_for_each_data_set_and_the_average_first(tmp_path, out):
    run(out / "few", [0, 0, 0, 0], shots=1)
    run(out / "other", [0, 0, 0, 0], dataset="eurosat")
    table = rows(page_of(tmp_path, out), "tables")
    assert [line[0] for line in table if len(line) == 1] == ["average over 2 data sets", "dtd", "eurosat"]
    # on seed 1: (75 + 50) / 2
    assert ["CCLI", "-", "62.50 1 seed"] in table


def test_confusion_by_hand(tmp_path, out):
    data = data_of(page_of(tmp_path, out))
    assert data["classes"] == [["dotted", "lined"]]
    gda, first, second = data["runs"]
    assert (gda["label"], gda["dataset"]) == ("GDA, 16 shots, seed 1", "dtd")
    assert (gda["correct"], gda["total"], gda["pairs"]) == ([1, 1], [2, 2], [0, 1, 1, 1, 0, 1])
    assert (first["correct"], first["pairs"], first["left"]) == ([2, 1], [1, 0, 1], 0)
    assert second["pairs"] == []


def test_many_classes_have_their_most_frequent_confusions(tmp_path, out):
    names = [f"class {k}" for k in range(300)]
    labels = [k for k in range(300) for _ in range(2)]
    predictions = [(label + 1) % 300 if label < 290 else 0 for label in labels]
    run(out / "wide", predictions, labels, names, dataset="wide")
    page = page_of(tmp_path, out)
    wide = data_of(page)["runs"][-1]
    assert len(wide["pairs"]) == 3 * 200 and wide["left"] == 100 and wide["pairs"][:3] == [0, 1, 2]
    assert "Above 40 classes there is no matrix, but the 200 most frequent confusions." in page


def test_a_large_output_keeps_the_first_seed_and_a_small_page(tmp_path, monkeypatch):
    from ccli.pages.report import chosen_run

    for seed in range(1, 6):
        run(tmp_path / "out" / str(seed), [0, 0, 1, 0], seed=seed)
        run(tmp_path / "out" / f"gda{seed}", [0, 0, 1, 0], seed=seed, trainer="GDA")
    monkeypatch.setattr(chosen_run, "ALL_SEEDS", 9)
    page = page_of(tmp_path, tmp_path / "out")
    assert [r["label"] for r in data_of(page)["runs"]] == ["GDA, 16 shots, seed 1", "CCLI, 16 shots, seed 1"]
    assert "Of 10 runs, the first seed of each method, data set and number of shots can be chosen." in page
    monkeypatch.setattr(chosen_run, "SIZE", 300)
    page = page_of(tmp_path, tmp_path / "out")
    assert len(data_of(page)["runs"]) == 1 and "The last 1 of them are left out to keep the page small." in page


def test_figures_are_in_the_page_with_words_for_those_who_do_not_see_them(tmp_path, out):
    page = page_of(tmp_path, out)
    labels = re.findall(r'<svg[^>]*aria-label="([^"]*)"', page)
    assert labels == [
        "Accuracy against shots, dtd; the numbers are in the table of accuracies.",
        "Accuracy and time, dtd; the numbers are in the tables.",
    ]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_data_is_shown_as_text(tmp_path, out):
    names = (ATTACK, "</script><!--")
    quoted = 'a "quoted" & <b>bold</b> trainer'
    run(
        out / "x", [1, 0, 1, 0], names=names, trainer=quoted, dataset="../../etc", hyper_parameters={ATTACK: ATTACK},
        versions={ATTACK: ATTACK},
    )  # fmt: skip
    (out / "bad").mkdir()
    (out / "bad" / "failed.txt").write_text(f"ValueError: {ATTACK}")
    page = page_of(tmp_path, out)
    assert ATTACK not in page and "<b>bold" not in page and html.escape(ATTACK) in page
    assert page.count("<script") == page.count("</script>") == 2, "the data and the page's own"
    assert list(names) in data_of(page)["classes"]
    assert quoted in [line[0] for line in rows(page, "tables")]


def test_nothing_is_fetched_and_only_the_own_script_may_run(tmp_path, out):
    page = page_of(tmp_path, out)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ") and "'unsafe-inline'; script-src 'sha256-" in policy
    addresses = set(re.findall(r"\b(?:src|href|action)=\"([^\"#][^\"]*)", page))
    assert addresses == {"data:,"}
    assert "@import" not in page and "url(http" not in page


def test_the_same_records_give_the_same_bytes(tmp_path, out):
    assert page_of(tmp_path, out) == page_of(tmp_path, out)


def test_what_is_broken_is_named_and_the_rest_goes_on(tmp_path, out, capsys):
    text = (out / "gda1" / "result.json").read_text()
    for name, content in {"truncated": text[:300], "old": '{"version": 1}'}.items():
        (out / name).mkdir()
        (out / name / "result.json").write_text(content)
    (out / "failed").mkdir()
    (out / "failed" / "failed.txt").write_text("Traceback ...\nValueError: no such thing\n")
    (tmp_path / "nothing").mkdir()
    page = page_of(tmp_path, out, tmp_path / "nothing")
    warnings = capsys.readouterr().err.splitlines()
    expected = [
        f"{out}/old/result.json has version 1, this code reads version 2",
        f"{out}/truncated/result.json is damaged",
        f"{out}/failed failed: ValueError: no such thing",
        f"{tmp_path}/nothing holds no finished run",
    ]
    assert len(warnings) == 4
    for line, words in zip(warnings, expected):
        assert line.startswith(f"warning: {words}") and html.escape(words) in page
    assert "Left out (4)" in page and "Report on 3 runs" in page


def test_two_runs_that_claim_one_place_are_both_left_out(tmp_path, out, capsys):
    run(out / "gda2", [1, 1, 0, 0], trainer="GDA")
    run(out / "copy", [0, 0, 1, 0])  # the same as ccli1
    page = page_of(tmp_path, out)
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"left out {out}/gda1, {out}/gda2: two different records for dtd, GDA" in warning
    assert "Report on 2 runs" in page and "GDA" not in rows(page, "tables")[1]


def test_seeds_of_different_experiments_are_left_out_and_the_rest_goes_on(tmp_path, out, capsys):
    for seed, top_k in ((1, 3), (2, 5)):
        options = {"SEED": seed, "OPTIM": {"LR": top_k}}
        run(out / f"taskres{seed}", [0, 0, 1, 1], trainer="TaskRes", seed=seed, config=options)
    page = page_of(tmp_path, out)
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"left out {out}/taskres1, {out}/taskres2: seeds 1 and 2 of dtd, TaskRes" in warning
    assert "(OPTIM.LR 3 and 5)" in warning and "Report on 3 runs" in page


def test_folders_that_overlap_count_once(tmp_path, out):
    assert "Report on 3 runs" in page_of(tmp_path, out, out / "ccli1")


def test_published_numbers_stand_in_marked_rows(tmp_path, out):
    (tmp_path / "p.csv").write_text("dataset,trainer,backbone,shots,accuracy\ndtd,Theirs,RN50,16,99.5\n")
    page = page_of(tmp_path, out, "--published", tmp_path / "p.csv")
    assert ["Theirs (RN50) ‡", "99.50"] in rows(page, "tables")


def test_figures_alone_and_both(tmp_path, out, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report(out, "--figures", "figures") == 0
    assert not (tmp_path / "report.html").exists()
    names = "curves_dtd.pdf, curves_dtd.png, time.pdf, time.png"
    assert capsys.readouterr().out == f"figures: {names}\n"
    assert ", ".join(sorted(path.name for path in (tmp_path / "figures").iterdir())) == names
    assert report(out) == 0
    assert capsys.readouterr().out == "report.html: a page on 3 runs\n"


@pytest.mark.parametrize("argv, words", [
    (["nothing"], "nothing found in nothing: no readable result.json below; finish a run first"),
    (["absent"], "no such folder: absent; give the folder that holds finished runs"),
    (["out", "--against", "Nobody"], "a difference to Nobody needs one row of it"),
    (["out", "--published", "none.csv"], "cannot read none.csv"),
    (["out", "--to", "out/gda1/result.json/page.html"], "cannot write out/gda1/result.json/page.html"),
])  # fmt: skip
def test_errors_are_one_line(tmp_path, out, capsys, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    assert report(*argv) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"report.py: error: {words}")
    assert not list(tmp_path.rglob("*.part"))


def test_without_jinja2_an_error_says_how_to_get_it(out, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert report(out) == 2
    expected = "report.py: error: the page needs jinja2, which is not installed; pip install jinja2\n"
    assert capsys.readouterr().err == expected


def test_help_teaches(capsys):
    with pytest.raises(SystemExit, match="0"):
        report("--help")
    assert "python report.py output --figures figures" in capsys.readouterr().out


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@in_browser
def test_the_console_is_watched(tmp_path, browser):
    """What the tests below rely on: errors in a page do not pass unseen."""
    page = tmp_path / "bad.html"
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
    for text, words in {
        "<script>undefinedFunction()</script>": "undefinedFunction is not defined",
        "<script>console.error('one', 'two')</script>": "one",
        f"{policy}<script>1</script>": "Content Security",
    }.items():
        page.write_text(f"<!DOCTYPE html><title>bad</title>{text}")
        browser.open(page)
        assert any(words in error for error in browser.errors), (text, browser.errors)


@in_browser
@pytest.mark.parametrize("width, dark", [(1200, False), (1200, True), (390, False)])
def test_it_opens_without_an_error_or_a_request(tmp_path, out, browser, width, dark):
    run(out / "few", [0, 0, 0, 0], shots=1)
    page_of(tmp_path, out)
    browser.open(tmp_path / "page.html", width=width, dark=dark)
    assert browser.errors == []
    assert browser.requests == [(tmp_path / "page.html").resolve().as_uri()]
    sizes = browser.evaluate(
        "[...document.querySelectorAll('main table, figure svg')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(sizes) >= 8 and sum(size > 100 for size in sizes) >= 6, "tables and figures are there"
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "only tables scroll sideways"
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)"
    )
    ink = browser.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert ink == ("rgb(228, 231, 235)" if dark else "rgb(26, 29, 33)"), "letters in figures follow"
    shot = browser.screenshot(tmp_path / "page.png")
    assert shot.read_bytes().startswith(b"\x89PNG") and shot.stat().st_size > 20_000


TEXTS = "[...document.querySelectorAll('{} tr')].map(r => [...r.children].map(c => c.textContent))"


@in_browser
def test_a_run_is_chosen_with_the_keyboard(tmp_path, out, browser):
    page_of(tmp_path, out)
    browser.open(tmp_path / "page.html")
    assert browser.evaluate(TEXTS.format("#matrix-lines")) == [["dotted", "1", "1"], ["lined", "1", "1"]]
    browser.evaluate("document.getElementById('run-chooser').focus()")
    browser.press("ArrowDown")
    assert browser.evaluate("document.getElementById('run-name').textContent").startswith(
        "dtd, CCLI, 16 shots, seed 1: 3 of 4 test images right (75.00 %)."
    )
    assert browser.evaluate(TEXTS.format("#class-lines")) == [
        ["dotted", "100.0", "2 of 2", ""],
        ["lined", "50.0", "1 of 2", ""],
    ]
    assert browser.evaluate(TEXTS.format("#pair-lines")) == [["lined", "dotted", "1", "50.0"]]
    assert browser.evaluate(TEXTS.format("#matrix-lines")) == [["dotted", "2", ""], ["lined", "1", "1"]]
    browser.press("Tab")
    browser.press("ArrowDown")
    assert browser.evaluate(TEXTS.format("#class-lines"))[0][0] == "lined", "worst first"
    # The address names the run, and brings it back.
    fragment = browser.evaluate("location.hash")
    assert fragment == "#run=dtd%2C%20CCLI%2C%2016%20shots%2C%20seed%201"
    browser.open(tmp_path / "page.html", fragment)
    assert (
        browser.evaluate("document.getElementById('run-chooser').selectedOptions[0].text") == "CCLI, 16 shots, seed 1"
    )
    assert browser.errors == []


@in_browser
def test_the_keyboard_reaches_everything_that_scrolls(tmp_path, out, browser):
    page_of(tmp_path, out)
    browser.open(tmp_path / "page.html")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.textContent") == "Skip to the tables"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left >= 0"), (
        "it is seen once it has the focus"
    )
    reached = set()
    for _ in range(40):
        browser.press("Tab")
        reached.add(browser.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.id"))
    assert {"By data set", "Paired tests", "Mean seconds of a run", "run-chooser", "class-order", "Versions"} <= reached


@in_browser
def test_class_names_do_no_harm_in_a_browser(tmp_path, out, browser):
    names = (ATTACK, "<img src=x onerror=alert(1)>")
    run(out / "x", [1, 0, 1, 0], names=names, trainer=ATTACK, dataset=f"a\ud800{ATTACK}")
    page_of(tmp_path, out)
    browser.open(tmp_path / "page.html", "#run=no%20such%20run")
    assert browser.errors == []
    assert [line[0] for line in browser.evaluate(TEXTS.format("#class-lines"))] == list(names)
    assert browser.evaluate("document.querySelectorAll('main img, main script').length") == 0


@in_browser
def test_without_scripts_all_but_the_chosen_run_is_there(tmp_path, out, browser):
    page = page_of(tmp_path, out)
    before_scripts = page.partition('<script type="application/json"')[0]
    (tmp_path / "bare.html").write_text(before_scripts)
    browser.open(tmp_path / "bare.html")
    assert browser.evaluate("document.getElementById('run-parts').checkVisibility()") is False
    assert "Choosing a run needs JavaScript" in page
    assert browser.evaluate("document.querySelectorAll('main figure svg').length") == 2
