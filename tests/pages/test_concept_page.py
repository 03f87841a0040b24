"""The page about a run's concepts: its numbers, its pictures, and that data stays data."""

import base64
import html
import io
import re
from types import SimpleNamespace

import pytest
import torch
from helpers import script
from linear_run import (
    LinearRun,
    SparseRun,
    adds_up,
    by_name,
    data_of,
    drawn,
    large_page,
    made,
    near,
    page_of,
    record_of,
)
from PIL import Image

from ccli.concepts.gallery import NAMED
from ccli.errors import CcliError
from ccli.inference.explanations import strongest
from ccli.pages.concepts.contents import contents_of
from ccli.pages.concepts.thumbnails import thumbnails

ATTACK = "<script>alert(1)</script>"


@pytest.fixture
def run(tmp_path):
    return LinearRun(tmp_path / "images")


def test_an_answer_is_made_of_its_parts(run):
    data = made(run)
    first, f = data["examples"][0], run.examples.features[0]
    answer, truth = run.examples.predictions[0], run.examples.labels[0]
    assert (first["prediction"], first["label"]) == (answer, truth) and answer != truth
    parts, text = first["parts"], f @ run.w.T
    near(parts["zero_shot"], 2 * text[answer])
    near(parts["class_texts"], (text * run.a[answer]).sum())
    near(parts["constant"], -run.d[answer])
    near(parts["total"], run.logits(f[None])[0, answer])
    near(first["probability"], (run.logits(f[None])[0] / 2).softmax(0)[answer])
    of_concepts = (f @ run.c.T) * run.b[answer]
    order = of_concepts.argsort(descending=True).tolist()
    expected = [k for k in order[:6] if of_concepts[k] > 0] + [k for k in order[-4:] if of_concepts[k] < 0]
    found = by_name(data, parts)
    assert list(found) == [f"concept {k}" for k in expected]
    for k in expected:
        near(found[f"concept {k}"], of_concepts[k])
    assert parts["others"][0] == 12 - len(expected)
    near(parts["others"][1], of_concepts.sum() - of_concepts[expected].sum())
    instead = first["instead"]
    near(instead["total"], run.logits(f[None])[0, answer] - run.logits(f[None])[0, truth])
    near(instead["zero_shot"], 2 * (text[answer] - text[truth]))
    for one in data["examples"]:
        adds_up(one["parts"])
        if one["instead"]:
            adds_up(one["instead"])


def test_a_sparse_answer_is_its_class_name_and_all_its_concepts(tmp_path):
    run = SparseRun(tmp_path / "images")
    data, logits = made(run), run.logits(run.prototypes)
    assert data["sparse"] is True and made(LinearRun())["sparse"] is False
    whole = [(one["marks"], one["marks"]["total"], 3) for one in data["classes"]]
    for label, (_, total, _) in enumerate(whole):
        near(total, logits[label, label])
    for label, one in enumerate(data["classes"]):
        for pair in one["confused"]:
            other = pair["class"]
            two = logits[:, label] - logits[:, other]
            whole.append((pair["parts"], two[label] - two[other], 6))
    test = run.logits(run.examples.features)
    for row, one in zip(test, data["examples"]):
        whole.append((one["parts"], row[one["prediction"]], 3))
        if one["instead"]:
            whole.append((one["instead"], row[one["prediction"]] - row[one["label"]], 6))
    assert len(whole) > 4 + 8 + 4
    for parts, total, most in whole:
        values = [value for _, value in parts["concepts"]]
        assert 1 <= len(values) <= most and values == sorted(values, reverse=True)
        assert parts["zero_shot"] + sum(values) == pytest.approx(float(total), abs=1e-5)
        assert parts["class_texts"] == parts["constant"] == parts["others"][1] == 0


def test_a_page_explains_the_parts_that_it_has(tmp_path):
    run = SparseRun()
    terms = [
        re.findall("<dt>([A-Z][a-z ]+)</dt><dd>", page_of(tmp_path, one).read_text()) for one in (LinearRun(), run)
    ]
    run.w = 0 * run.w
    terms.append(re.findall("<dt>([A-Z][a-z ]+)</dt><dd>", page_of(tmp_path, run).read_text()))
    dense = ["Class name", "Class texts", "Concepts", "Constant"]
    assert [[x for x in one if x in [*dense, "Concept"]] for one in terms] == [
        dense, ["Class name", "Concept"], ["Concept"],
    ]  # fmt: skip


def test_names_are_claims_and_synonyms_stand_beside_them():
    run = SparseRun()
    for one in made(run)["concepts"]:
        k = int(one["name"].split()[1])
        assert one["better"] == run.concepts.ranks[k] == k % 4 * 5
        doubtful = k % 4 * 5 + k % 6 >= NAMED  # better names, and those merged into it
        assert one.get("doubtful", False) is doubtful is run.concepts.title(k).startswith("looks like")
        assert one.get("also", []) == run.concepts.synonyms[k][:3] and one.get("more", 0) == max(k % 6 - 3, 0)
    assert {"better", "doubtful", "also", "more"}.isdisjoint(made(LinearRun())["concepts"][0])


def test_mistakes_come_first_and_right_answers_have_no_other(run):
    examples = made(run)["examples"]
    right = [one["label"] == one["prediction"] for one in examples]
    assert right == sorted(right) and 0 < sum(right) < len(right)
    assert [one["instead"] is None for one in examples] == right


def test_what_marks_a_class_is_its_logit_above_the_mean(run):
    data = made(run)
    for label, one in enumerate(data["classes"]):
        logits = run.logits(run.prototypes[label : label + 1])[0]
        near(one["marks"]["total"], logits[label] - logits.mean())
        adds_up(one["marks"])
        values = (run.prototypes[label] @ run.c.T) * (run.b[label] - run.b.mean(0))
        for name, value in by_name(data, one["marks"]).items():
            near(value, values[int(name.split()[1])])


def test_concepts_that_an_image_lacks_are_told_apart(run):
    data = made(run)

    def lacked(parts):
        return {int(data["concepts"][k]["name"].split()[1]) for k in parts["lacked"]}

    def shown(parts):
        return {int(name.split()[1]) for name in by_name(data, parts)}

    first, f = data["examples"][0], run.examples.features[0]
    for parts in (first["parts"], first["instead"]):
        assert lacked(parts) == {k for k in shown(parts) if f @ run.c[k] < 0} and lacked(parts)
    marks = data["classes"][2]["marks"]
    assert lacked(marks) == {k for k in shown(marks) if run.prototypes[2] @ run.c[k] < 0} and lacked(marks)
    between = [pair["parts"] for one in data["classes"] for pair in one["confused"]]
    assert between and not any(parts["lacked"] for parts in between), "two images are compared"


def test_rivals_are_those_it_is_confused_with_most(run):
    record = record_of(run)
    # Of class 0: two taken for 2, one for 1; two of 1 and none of 2 are taken for it.
    record |= {"labels": [0, 0, 0, 0, 1, 1, 3], "predictions": [2, 2, 1, 0, 0, 0, 3]}
    data = contents_of(run, record)
    confused = data["classes"][0]["confused"]
    assert [(one["class"], one["as"], one["from"]) for one in confused] == [(1, 1, 2), (2, 2, 0)]
    assert data["classes"][3]["confused"] == []
    between = run.logits(run.prototypes)[:, 0] - run.logits(run.prototypes)[:, 1]
    near(confused[0]["parts"]["total"], between[0] - between[1])
    assert confused[0]["parts"]["constant"] == 0
    adds_up(confused[0]["parts"])


def test_concepts_are_in_order_with_the_images_behind_them(run):
    data = made(run)
    assert [one["name"] for one in data["concepts"]] == [f"concept {k}" for k in reversed(range(12))]
    assert data["kinds"] == ["colour", "part", "<b>kind</b>"]
    last = data["concepts"][-1]
    near(last["distinctiveness"], 0.1)
    assert (last["kind"], len(last["images"])) == (0, 3)
    # Its images are the training images 0, 1 and 2, which are of class 0.
    shown = [data["images"][k] for k in last["images"]]
    assert [one["label"] for one in shown] == [0, 0, 0]
    assert all(one["uri"].startswith("data:image/jpeg;base64,") for one in shown)
    assert len(data["images"]) == 8 + 12, "an image is there once"
    assert data["images"][data["examples"][0]["image"]]["label"] == data["examples"][0]["label"]


def test_the_header_tells_what_the_run_was(run):
    overview = dict(made(run, calibration={"ece": 0.0312})["overview"])
    assert overview["Accuracy"] == "50.00 % (4 of 8 test images)"
    assert overview["Calibration error (ECE)"] == "3.12 %" and overview["Temperature"] == "2"
    assert overview["Learned from"] == "12 images, 12 concepts"
    assert "Calibration error (ECE)" not in dict(made(run)["overview"])


def test_less_distinctive_concepts_are_left_out_and_counted():
    run = LinearRun(concepts=600)
    run.b[:, 100:] = 0  # so that only the hundred least distinctive ones have a part in anything
    data = made(run)
    names = {one["name"] for one in data["concepts"]}
    named = {data["concepts"][k]["name"] for one in data["examples"] for k, _ in one["parts"]["concepts"]}
    assert {f"concept {k}" for k in range(300, 600)} <= names and named <= names
    assert named and named <= {f"concept {k}" for k in range(100)}
    which = "concepts that are less distinctive and not among the strongest for any class or image here."
    assert data["notes"][0] == f"Left out: {600 - len(names)} {which}"


def test_a_bundle_has_no_pictures_and_all_else(tmp_path):
    data = made(LinearRun())
    assert {one["uri"] for one in data["images"]} == {""}
    assert data["notes"] == [
        "A feature bundle has no pictures: an empty field with the name of a class stands for its image."
    ]
    assert len(data["examples"]) == 8 and len(data["concepts"][0]["images"]) == 3


def test_a_run_without_concepts_is_an_error_in_words(run):
    record = record_of(run)
    run.classnames = run.classnames[:3]
    with pytest.raises(CcliError, match="has 3 classes and its record 4; give the folder of a run"):
        contents_of(run, record)
    run.concepts = None
    with pytest.raises(CcliError, match=r"the run has no concepts .* with visual or text concepts$"):
        contents_of(run, record)


def test_a_run_may_have_no_test_images(run):
    run.examples = SimpleNamespace(paths=[], labels=[], predictions=[], features=torch.zeros(0, 16))
    record = record_of(LinearRun())
    assert contents_of(run, record)["examples"] == []


def test_strongest():
    assert strongest(torch.tensor([0.1, -0.2, 0.0, 0.3, -0.1]), 2, 1) == [3, 0, 1]
    assert strongest(torch.tensor([1.0, 2.0]), 5, 5) == [1, 0]
    assert strongest(torch.zeros(3), 2, 2) == []


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_thumbnails_are_small_upright_and_on_white(tmp_path):
    wide = Image.new("RGB", (400, 200), "red")
    wide.paste((0, 0, 255), (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # seen turned by 90 degrees: blue on top
    wide.save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    uris, notes = thumbnails([tmp_path / "turned.jpg", tmp_path / "clear.png", ""])
    turned, clear = decoded(uris[0]), decoded(uris[1])
    assert turned.format == "JPEG" and turned.size == (48, 96) and not turned.getexif()
    assert turned.getpixel((24, 10))[2] > 200 and turned.getpixel((24, 85))[0] > 200
    assert clear.size == (50, 50) and min(clear.getpixel((25, 25))) > 250
    assert uris[2] == "" and notes == []


def test_what_has_no_thumbnail_is_counted(tmp_path):
    good = drawn(tmp_path, "good", 0)
    (tmp_path / "bad.png").write_text("no picture")
    (note,) = thumbnails([good, tmp_path / "bad.png"])[1]
    assert note == f"{tmp_path}/bad.png is gone or cannot be read, and shown as an empty field."
    uris, (note,) = thumbnails([tmp_path / "bad.png", good, tmp_path / "gone.png", "a\0b"])
    assert [bool(uri) for uri in uris] == [False, True, False, False]
    assert note.startswith(f"3 images, {tmp_path}/bad.png the first of them, are gone or cannot be read")


def test_thumbnails_stay_within_the_budget(tmp_path):
    paths = [drawn(tmp_path, f"image{k}", k) for k in range(70)]
    whole, _ = thumbnails(paths)
    budget = sum(map(len, whole[:3])) + 10
    uris, notes = thumbnails(paths, budget=budget)
    assert uris[:3] == whole[:3] and not any(uris[3:])
    assert notes == ["67 images are shown as an empty field to keep the page small."]
    assert max(decoded(thumbnails(paths * 9)[0][0]).size) == 64, "many pictures are smaller"


def test_data_is_shown_as_text(tmp_path):
    names = [ATTACK, "</script><!--", 'a "quoted"\nline & <b>', "Bücher \ud800 猫"]
    run = LinearRun(names=names, concept_names=[ATTACK, "it's\n", "\udfff", *names[1:]])
    page = page_of(tmp_path, run, dataset=ATTACK).read_text(encoding="utf-8")
    assert ATTACK not in page and html.escape(ATTACK) in page and "<b>kind" not in page
    assert page.count("<script") == page.count("</script>") == 2, "the data and the page's own"
    data = data_of(page)
    assert [one["name"] for one in data["classes"]] == [*names[:3], "Bücher ? 猫"]
    assert {ATTACK, "it's\n", "?"} <= {one["name"] for one in data["concepts"]}


def test_nothing_is_fetched_and_only_the_own_script_may_run(tmp_path, run):
    page = page_of(tmp_path, run).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ") and "'unsafe-inline'; script-src 'sha256-" in policy
    assert set(re.findall(r"\b(?:src|href|action)=\"([^\"#][^\"]*)", page)) == {"data:,"}
    assert "@import" not in page and "url(" not in page and "http:" not in page and "https:" not in page


def test_the_same_run_gives_the_same_bytes(tmp_path, run):
    assert page_of(tmp_path, run).read_bytes() == page_of(tmp_path, run).read_bytes()


def test_without_scripts_there_are_lists(tmp_path, run):
    page = page_of(tmp_path, run).read_text(encoding="utf-8")
    lists = " ".join(re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL))
    assert "<li>concept 11 (&lt;b&gt;kind&lt;/b&gt;, 0.90)</li>" in lists
    data = data_of(page)
    marks = data["classes"][0]["marks"]
    marked = [k for k, value in marks["concepts"] if value > 0]
    names = [("not " if k in marks["lacked"] else "") + data["concepts"][k]["name"] for k in marked]
    assert f"right; marked by {', '.join(names)}</li>" in lists
    page = page_of(tmp_path, SparseRun()).read_text(encoding="utf-8")
    assert "<li>looks like concept 11 (" in page and "marked by does not look like concept" in page


def test_a_thousand_classes_fit(tmp_path):
    large = large_page(tmp_path)
    assert large.stat().st_size < 5_000_000
    data = data_of(large.read_text(encoding="utf-8"))
    assert (len(data["classes"]), data["many"], len(data["examples"])) == (1000, True, 200)
    assert sum(bool(one["uri"]) for one in data["images"]) > 500
    assert any("to keep the page small" in note for note in data["notes"])


# report.py --concepts


def report(*argv):
    return script("report").main([str(argument) for argument in argv])


def test_the_command_writes_the_page(tmp_path, run, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ccli.pages.concepts.contents.contents", lambda folder: made(run, dataset=folder))
    assert report("--concepts", "some/run") == 0
    assert capsys.readouterr().out == "concepts.html: a page on 12 concepts, 4 classes and 8 test images\n"
    assert "What a run of CCLI saw in some/run" in (tmp_path / "concepts.html").read_text()
    assert report("--concepts", "some/run", "--to", "pages/a.html") == 0 and (tmp_path / "pages/a.html").exists()


@pytest.mark.parametrize("argv, words", [
    ([], "the following arguments are required: OUTPUT (or --concepts RUN)"),
    (["out", "--concepts", "run"], "argument --concepts: not allowed with OUTPUT"),
    (["--concepts", "run", "--figures", "f"], "argument --concepts: not allowed with --figures"),
    (["--concepts", "run", "--against", "GDA"], "argument --concepts: not allowed with --against"),
])  # fmt: skip
def test_what_does_not_go_together(capsys, argv, words):
    with pytest.raises(SystemExit, match="2"):
        report(*argv)
    assert capsys.readouterr().err == f"report.py: error: {words}; see report.py --help\n"
