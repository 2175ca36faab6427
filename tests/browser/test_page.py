"""What a person sees and does on the page."""

from __future__ import annotations

import json
import re
import time
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import App, all_in_sight
from playwright.sync_api import Page, expect
from tiny import tiny

from app import EXAMPLES
from model import save
from viewer.gate import BUSY

SENTENCE = "Oil prices rise to a record as stocks fall"
CURSOR = "rect.cursor[visibility='visible']"


def answered(page: Page) -> None:
    page.wait_for_function("() => !document.querySelector('.unrolled').classList.contains('stale')")


def read(page: Page, text: str) -> None:
    """Types a sentence and waits for its answer."""
    page.fill("#sentence textarea", text)
    page.wait_for_function("text => location.hash.includes(`text=${encodeURIComponent(text)}`)", arg=text)
    answered(page)


def words(page: Page, side: int = 0) -> list[str]:
    # Not what is rendered: a panel that is scrolled out of sight renders nothing.
    return page.locator(f".strip .side-{side} .token").all_text_contents()


def linked(page: Page, part: str, there: bool = True) -> None:
    """Waits until the address holds a part, or no longer does."""
    page.wait_for_function("([part, there]) => location.hash.includes(part) === there", arg=[part, there])


def focus(page: Page) -> None:
    page.locator(".unrolled").focus()


def test_the_first_paint_shows_the_first_example_without_a_request_for_it(visit, picture):
    asked = []
    page = visit("", drawn=False)
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.wait_for_selector(".unrolled .panel")
    assert page.input_value("#sentence textarea") == EXAMPLES[0]["text"]
    assert words(page)[0] == "stocks"
    assert not [url for url in asked if "/run/" in url]
    picture(page)


def test_the_panels_stand_in_their_order_with_the_rnn_left_and_the_lstm_right(visit):
    page = visit()
    panels = page.locator("[data-panel]").evaluate_all("all => all.map((each) => each.dataset.panel)")
    assert [name for name in panels if name != "controls"] == [
        "verdicts", "strip", "running", "states", "trajectory", "lifeline", "ledger", "inspector",
    ]  # fmt: skip
    left, right = (page.locator(f".verdicts .side-{side}").bounding_box() for side in (0, 1))
    assert left["x"] + left["width"] <= right["x"]
    assert page.locator(".verdicts .who").all_inner_texts() == ["RNN", "LSTM"]


def test_typing_is_followed_by_the_answer_of_both(visit):
    page = visit()
    page.locator("#sentence textarea").press("Control+End")
    page.keyboard.type(" Striker scores twice in cup final")
    expect(page.locator(".strip .side-1 .token").last).to_have_text("final")
    answered(page)
    assert words(page, 0) == words(page, 1)
    assert page.locator(".verdict .answer").count() == 2


@pytest.mark.parametrize("panel", ["running", "states", "lifeline", "ledger"])
def test_pointing_at_a_panel_moves_the_cursor_in_all_of_them(visit, panel):
    page = visit()
    area = page.locator(f".{panel} .area").first
    area.hover()  # panels out of sight take their height when they come into sight
    box = area.bounding_box()
    area.hover(position={"x": box["width"] * 2.5 / len(words(page)), "y": box["height"] / 2})
    expect(page.locator(CURSOR)).to_have_count(page.locator("rect.cursor").count())
    assert page.locator(".token.here").all_text_contents() == [words(page)[2]] * 2
    expect(page.locator(".inspector .word").first).to_have_text(words(page)[2])
    page.mouse.move(2, 2)
    expect(page.locator(CURSOR)).to_have_count(0)


def test_pointing_at_a_word_moves_the_cursor_and_a_click_pins_it(visit):
    page = visit()
    page.locator(".strip .side-1 [data-t='4']").click()
    page.mouse.move(2, 2)
    assert page.locator(".token.here").count() == 2
    linked(page, "token=5")


def test_keys_step_play_pin_and_let_go(visit):
    page = visit()
    focus(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".token.here").first.get_attribute("data-t") == "1"
    page.keyboard.press("ArrowLeft")
    assert page.locator(".token.here").first.get_attribute("data-t") == "0"
    expect(page.locator("[data-part=spoken]")).to_contain_text("Word 1 of 12, stocks. RNN: Business")
    page.keyboard.press("Escape")
    assert page.locator(".token.here").count() == 0
    page.locator(".strip .side-0 [data-t='3']").hover()
    page.keyboard.press("Enter")
    page.mouse.move(2, 2)
    assert page.locator(".token.here").first.get_attribute("data-t") == "3"


def test_playing_stops_at_the_end(visit):
    page = visit()
    read(page, "Oil prices fall")
    focus(page)
    page.keyboard.press(" ")
    expect(page.locator("[data-act=play]")).to_have_text("■ Stop")
    expect(page.locator("[data-act=play]")).to_have_text("▶ Play", timeout=8000)
    assert page.locator(".token.here").first.get_attribute("data-t") == "2"


def test_keys_act_only_while_the_viewer_has_the_focus(visit):
    page = visit()
    page.locator("#sentence textarea").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    answered(page)
    assert page.locator(".token.here").count() == 0
    expect(page.locator("[data-act=play]")).to_have_text("▶ Play")


def test_clicking_a_unit_pins_it_and_draws_its_line_in_both(visit):
    page = visit()
    page.locator(".states .area").first.click(position={"x": 30, "y": 20})
    expect(page.locator(".states .pinned-unit")).to_have_count(2)
    expect(page.locator(".states path.line")).to_have_count(2)
    page.locator(".picker select").select_option("")
    expect(page.locator(".states .pinned-unit")).to_have_count(0)


def test_a_pinned_unit_has_the_same_axis_in_both_networks(visit):
    page = visit()
    for rank in (0, 5, 20):
        page.select_option("[data-act=unit]", str(rank))
        axes = [
            page.locator(f".states .side-{side} svg.chart").nth(1).locator("g .tick").all_text_contents()
            for side in (0, 1)
        ]
        assert axes == [["−1", "0", "1"]] * 2


def test_every_unit_can_be_reached(visit):
    page = visit()
    assert page.locator(".picker option").count() == 1 + 64


def test_tabs_show_the_cell_and_each_gate_and_say_that_an_rnn_has_none(visit):
    page = visit()
    tabs = page.locator("[role=tab][data-tab]").evaluate_all("all => all.map((each) => each.dataset.tab)")
    assert tabs == ["hidden", "cell", "input", "forget", "candidate", "output"]
    for tab in tabs[1:]:
        page.click(f"[data-tab={tab}]")
        expect(page.locator(f"[data-tab={tab}]")).to_have_attribute("aria-selected", "true")
        expect(page.locator(".states .nothing")).to_contain_text("The RNN has no")
        expect(page.locator(".states image.heat")).to_have_count(1)
    page.locator("[data-tab=output]").press("ArrowRight")
    expect(page.locator("[data-tab=hidden]")).to_be_focused()


def test_a_class_can_be_chosen_and_is_named_where_it_is_drawn(visit):
    page = visit()
    page.select_option("[data-act=class]", "Sports")
    expect(page.locator(".about-class")).to_contain_text("Sports")
    expect(page.locator(".lifeline .legend")).to_contain_text("B Sports")
    linked(page, "class=Sports")
    page.select_option("[data-act=class]", "")
    expect(page.locator(".about-class")).to_contain_text("Business")
    linked(page, "class=", there=False)


@pytest.mark.parametrize("method", ["integrated gradients", "deletion", "replacement", "gradient × input"])
def test_other_evidence_is_fetched_when_it_is_chosen(visit, method):
    page = visit()
    before = page.locator(".strip .token").first.get_attribute("title")
    page.select_option("[data-act=method]", method)
    expect(page.locator(".strip .token").first).not_to_have_attribute("title", before)
    badges = page.locator(".completeness").count()
    assert badges == (2 if method == "integrated gradients" else 0)


def test_the_completeness_error_of_integrated_gradients_turns_amber_above_five_per_cent(visit):
    page = visit()

    def worsen(route):
        answer = route.fetch()
        body = answer.json()
        payload = json.loads(body["data"][0])
        payload["evidence"][0]["error"] = 0.2
        body["data"][0] = json.dumps(payload)
        route.fulfill(response=answer, json=body)

    page.route("**/gradio_api/run/**", worsen)
    page.select_option("[data-act=method]", "integrated gradients")
    expect(page.locator(".completeness").first).to_have_class("completeness amber")
    expect(page.locator(".completeness").first).to_contain_text("20.0 %")
    expect(page.locator(".completeness").last).to_have_class("completeness fine")


def test_shape_only_gives_each_network_its_own_scale_and_says_so(visit):
    page = visit()
    assert page.locator(".shape-only").count() == 0
    page.check("[data-act=shape]")
    expect(page.locator(".shape-only")).to_contain_text("own scale")
    expect(page.locator(".strip .legend")).to_contain_text("most")


def test_the_cell_ledger_stands_under_its_own_name(visit):
    page = visit()
    page.check("input[value=cell]")
    expect(page.locator(".ledger > .note").first).to_contain_text("Murdoch and Szlam 2017")


def test_each_example_is_drawn_when_it_is_pressed_and_a_pair_takes_turns(visit):
    page = visit()
    for index, example in enumerate(EXAMPLES):
        page.click(f"[data-example='{index}']")
        expect(page.locator("#sentence textarea")).to_have_value(example["text"])
        answered(page)
    page.click("[data-example='3']")
    page.click("[data-example='3']")
    expect(page.locator("#sentence textarea")).to_have_value(EXAMPLES[3]["other"])


def test_a_disagreement_is_marked(visit):
    page = visit()
    assert page.locator(".disagree").count() == 0
    read(page, EXAMPLES[2]["text"])
    expect(page.locator(".disagree")).to_be_visible()


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "${alert(1)} `${1+1}`",
    "{{constructor.constructor('alert(1)')()}} {{#each value}}x{{/each}}",
    "\u202eright to left\u202c עברית عربي",
    "你好 世界 🙂 👩‍👩‍👧",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_is_typed_becomes_markup(visit, text):
    page = visit()
    before = page.locator(".unrolled img, .unrolled script").count()
    read(page, text)
    page.locator(".strip [data-t='0']").first.hover()
    assert page.locator(".unrolled img, .unrolled script").count() == before == 0
    shown = " ".join(words(page))
    assert "".join(shown.split()) == "".join(text.lower().replace('"', "").replace(";", "").replace(":", "").split())


def test_unknown_words_are_underlined_with_the_typed_word_in_reach(visit):
    page = visit()
    read(page, "Zorgblatt shares rise")
    word = page.locator(".strip .token.unknown").first
    assert "typed “Zorgblatt”" in word.get_attribute("title")
    assert "underline" in word.evaluate("node => getComputedStyle(node).textDecorationLine")


def test_an_empty_sentence_is_the_bias_and_says_that_there_is_nothing_to_read(visit, picture):
    page = visit()
    page.fill("#sentence textarea", "  ")
    expect(page.locator(".verdicts .settled").first).to_have_text("nothing was read")
    for panel in ("strip", "running", "states", "trajectory", "lifeline", "ledger", "inspector"):
        expect(page.locator(f".{panel}")).to_contain_text("nothing to read")
    picture(page)


def test_a_long_text_is_read_to_its_256th_token_and_the_page_says_so(visit, picture):
    page = visit()
    read(page, "oil " * 300)
    assert len(words(page)) == 256
    expect(page.locator(".cut").first).to_contain_text("44 more tokens were cut off")
    picture(page)


def test_the_last_result_stays_dimmed_until_the_next_is_there_and_only_the_newest_counts(visit):
    page = visit()
    held, released = [], []
    page.route("**/gradio_api/run/**", lambda route: route.continue_() if released else held.append(route))
    page.fill("#sentence textarea", "first question")
    page.wait_for_timeout(300)
    page.fill("#sentence textarea", "second question")
    expect(page.locator(".unrolled")).to_have_class("unrolled stale")
    assert words(page)[0] == "stocks"
    page.wait_for_timeout(200)
    assert len(held) == 1
    released.append(True)
    held[0].continue_()
    expect(page.locator(".strip .side-0 .token").first).to_have_text("second")
    answered(page)


def test_a_server_that_is_gone_is_said_on_the_page_which_comes_back_with_its_sentence(chromium, tmp_path):
    running = App(tmp_path / "log")
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(running.url)
        page.wait_for_selector(".unrolled .panel")
        read(page, SENTENCE)
        running.stop()
        page.fill("#sentence textarea", SENTENCE + " again")
        expect(page.locator("[data-part=status]")).to_contain_text("out of reach", timeout=15000)
        page.evaluate("() => { window.before = true; }")
        running = App(tmp_path / "log", port=running.port)
        page.wait_for_function("() => !window.before", timeout=30000)  # Gradio loads the page again by itself
        expect(page.locator("#sentence textarea")).to_have_value(SENTENCE + " again", timeout=20000)
        expect(page.locator(".strip .side-0 .token").first).to_have_text("oil")
    finally:
        context.close()
        running.stop()


def test_a_link_brings_sentence_class_and_token_and_draws_nothing_else_first(visit):
    page = visit("#text=Oil%20prices%20%2B%20fall&class=World&token=2", drawn=False)
    page.evaluate(
        "() => { window.seen = []; new MutationObserver(() => { const word = document.querySelector('.token');"
        " if (word) window.seen.push(word.textContent); }).observe(document.body, {subtree: true, childList: true}); }"
    )
    page.wait_for_selector(".unrolled .panel")
    answered(page)
    assert set(page.evaluate("() => window.seen")) <= {"oil"}
    assert page.input_value("#sentence textarea") == "Oil prices + fall"
    expect(page.locator(".about-class")).to_contain_text("World")
    assert page.locator(".token.here").first.get_attribute("data-t") == "1"
    page.reload()
    page.wait_for_selector(".unrolled .panel")
    expect(page.locator(".token.here").first).to_have_attribute("data-t", "1")
    page.evaluate("() => { location.hash = '#text=Another%20sentence'; }")
    expect(page.locator(".strip .side-0 .token").first).to_have_text("another")


def test_a_text_box_that_is_set_back_after_a_link_was_followed_holds_the_sentence_again(visit):
    page = visit("#text=Oil%20prices%20rise&other=Oil%20prices%20fall&token=2")
    answered(page)
    # What Gradio does to a box that has just come: no event tells of it.
    page.add_init_script(
        """const post = window.fetch;
        window.fetch = (...request) => {
            if (String(request[0].url || request[0]).includes('/run/predict')) {
                window.fetch = post;
                document.querySelector('#sentence textarea').value = 'Stocks fell';
                document.querySelector('#other textarea').value = '';
                window.setBack = true;
            }
            return post(...request);
        };"""
    )
    page.reload()
    expect(page.locator(".strip .side-0 .token").last).to_have_text("rise")
    expect(page.locator("#sentence textarea")).to_have_value("Oil prices rise")
    expect(page.locator("#other textarea")).to_have_value("Oil prices fall")
    assert page.evaluate("() => window.setBack")
    answered(page)
    expect(page.locator(".token.here").first).to_have_attribute("data-t", "1")
    assert words(page) == ["oil", "prices", "rise"]


def test_a_link_to_a_class_that_is_not_there_says_so_and_shows_the_sentence_without_it(visit):
    page = visit("#text=Oil%20prices&class=Weather")
    expect(page.locator("[data-part=status]")).to_contain_text("There is no class 'Weather'")
    assert words(page) == ["oil", "prices"]
    linked(page, "class=", there=False)
    read(page, "Oil prices rise")
    expect(page.locator("[data-part=status]")).to_have_text("")


def test_a_text_too_long_for_a_link_is_read_without_one(visit):
    page = visit()
    page.fill("#sentence textarea", "oil prices " * 95_000)
    expect(page.locator(".cut").first).to_contain_text("189,744 more tokens were cut off", timeout=20000)
    page.click("[data-act=link]")
    expect(page.locator("[data-part=status]")).to_contain_text("too long for a link")
    assert "#" not in page.url


def test_an_answer_lost_on_the_way_is_asked_for_again(visit):
    page = visit(expected="Failed to load resource")
    lost = []

    def lose_the_first(route):
        if lost:
            route.continue_()
        else:
            lost.append(route.abort())

    page.route("**/gradio_api/run/**", lose_the_first)
    page.fill("#sentence textarea", "lost on the way")  # Gradio loads the page anew when a request fails
    expect(page.locator(".strip .side-0 .token").first).to_have_text("lost", timeout=20000)
    expect(page.locator("#sentence textarea")).to_have_value("lost on the way")


def test_a_server_that_hangs_holds_up_the_next_sentence_for_some_seconds_only(visit):
    page = visit()
    asked = []
    page.route("**/gradio_api/run/**", lambda route: route.continue_() if asked else asked.append(route))
    page.fill("#sentence textarea", "never answered")
    expect(page.locator("[data-part=status]")).to_contain_text("No answer yet", timeout=15000)
    assert words(page)[0] == "stocks"
    read(page, "answered at once")
    assert words(page)[0] == "answered"
    expect(page.locator("[data-part=status]")).to_have_text("")


def test_a_question_without_an_answer_is_asked_again_without_a_key_press(visit):
    page = visit()
    asked = []
    page.route("**/gradio_api/run/**", lambda route: route.continue_() if asked else asked.append(route))
    page.fill("#sentence textarea", "asked twice")
    expect(page.locator(".strip .side-0 .token").first).to_have_text("asked", timeout=30000)
    expect(page.locator("[data-part=status]")).to_have_text("")


def test_a_page_that_is_refused_by_a_busy_server_says_so_and_asks_again(visit):
    page = visit(expected="Failed to load resource|503")
    told = json.dumps({"error": BUSY})
    refused = []

    def refuse_the_first(route):
        if refused:
            route.continue_()
        else:
            refused.append(route.fulfill(status=503, content_type="application/json", body=told))

    page.route("**/gradio_api/run/**", refuse_the_first)
    page.fill("#sentence textarea", "refused once")
    expect(page.locator("[data-part=status]").first).to_contain_text("the server is busy", timeout=15000)
    expect(page.locator(".strip .side-0 .token").first).to_have_text("refused", timeout=30000)


def test_a_class_chosen_while_an_answer_is_awaited_is_for_the_newest_sentence(visit):
    page = visit()
    held, released = [], []
    page.route("**/gradio_api/run/**", lambda route: route.continue_() if released else held.append(route))
    page.fill("#sentence textarea", "the newest sentence")
    page.select_option("[data-act=class]", "Sports")
    page.wait_for_timeout(200)
    released.append(True)
    held[0].continue_()
    expect(page.locator(".about-class")).to_contain_text("Sports")
    assert words(page) == ["the", "newest", "sentence"]


def test_a_control_that_redraws_the_page_keeps_the_focus(visit):
    page = visit()
    page.locator("[data-act=unit]").focus()
    page.locator("[data-act=unit]").select_option("3")
    expect(page.locator("[data-act=unit]")).to_be_focused()
    expect(page.locator(".states .pinned-unit")).to_have_count(2)
    page.locator("[data-act=ledger-state]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-act=ledger-cell]")).to_be_focused()
    expect(page.locator("[data-act=ledger-cell]")).to_be_checked()


def test_another_tab_and_back_leaves_the_sentence_where_it_was(visit):
    page = visit()
    read(page, SENTENCE)
    width = page.locator(".lifeline svg.chart").first.get_attribute("width")
    page.get_by_role("tab", name="Training").click()
    expect(page.locator(".unrolled")).to_be_hidden()
    page.get_by_role("tab", name="Read").click()
    expect(page.locator(".unrolled")).to_be_visible()
    assert words(page)[0] == "oil"
    assert page.input_value("#sentence textarea") == SENTENCE
    assert page.locator(".lifeline svg.chart").first.get_attribute("width") == width
    page.fill("#sentence textarea", "striker scores")
    expect(page.locator(".strip .side-0 .token").first).to_have_text("striker")


def test_one_classifier_of_another_cell_and_many_classes_is_drawn_alone(chromium, tmp_path, picture):
    save(tiny("gru", labels=[f"Topic <b>{i}</b>" for i in range(12)]), tmp_path / "topics")
    running = App(tmp_path / "log", "--models", str(tmp_path / "topics"))
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.goto(running.url)
        page.wait_for_selector(".unrolled .panel")
        read(page, "the stocks fell")
        assert page.locator(".verdicts .who").all_inner_texts() == ["GRU"]
        assert page.locator(".verdicts .bar").count() == 8
        expect(page.locator(".verdicts")).to_contain_text("8 of 12 classes")
        assert page.locator(".example span").count() == 0
        assert page.locator(".unrolled b").count() == 0
        tabs = page.locator("[data-tab]").evaluate_all("all => all.map((each) => each.dataset.tab)")
        assert tabs == ["hidden", "candidate", "reset", "update"]
        expect(page.locator(".survival")).to_be_visible()
        picture(page)
    finally:
        context.close()
        running.stop()


def test_the_link_can_be_copied(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    read(page, SENTENCE)
    page.click("[data-act=link]")
    expect(page.locator("[data-part=status]")).to_have_text("The link is copied.")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url


def test_the_picture_and_the_trace_can_be_saved(visit, tmp_path):
    page = visit()
    with page.expect_download() as download:
        page.click("[data-act=picture]")
    download.value.save_as(tmp_path / "picture.svg")
    root = ElementTree.parse(tmp_path / "picture.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{name}svg")) == page.locator("svg.chart").count()
    assert any("Lifeline" in (text.text or "") for text in root.findall(f"{name}text"))
    with page.expect_download() as download:
        page.click("[data-act=trace]")
    download.value.save_as(tmp_path / "trace.json")
    saved = json.loads((tmp_path / "trace.json").read_text())
    assert saved["text"] == EXAMPLES[0]["text"]
    hidden = saved["models"][1]["trace"]["hidden"]
    assert (len(hidden), len(hidden[0])) == (12, 64)
    assert set(saved["models"][1]["trace"]["gates"]) == {"input", "forget", "candidate", "output"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("state", ["hidden", "forget"])
def test_axe_finds_nothing_serious_in_what_we_draw(visit, picture, theme, state):
    page = visit(f"?__theme={theme}")
    read(page, "Zorgblatt shares rise as the striker scores <b>twice</b>")
    page.select_option("[data-act=method]", "integrated gradients")
    expect(page.locator(".completeness")).to_have_count(2)
    page.click(f"[data-tab={state}]")
    page.locator(".strip .side-1 [data-t='3']").click()
    all_in_sight(page)
    found = Axe().run(page, context=".unrolled").response["violations"]
    serious = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert not serious
    picture(page)


# What Gradio itself draws around the viewer, by axe's rule.
GRADIOS_OWN = {"heading-order", "landmark-one-main", "region", "page-has-heading-one"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_axe_finds_in_the_rest_of_the_page_is_gradios_own(visit, theme):
    page = visit(f"?__theme={theme}")
    found = Axe().run(page, options={"exclude": [[".unrolled"]]}).response["violations"]
    assert {each["id"] for each in found if each["impact"] in ("serious", "critical")} <= GRADIOS_OWN


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_an_empty_text_box_asks_for_can_be_read(visit, theme):
    """By WCAG 2.2's contrast, 4.5 to 1; axe leaves placeholders out."""
    page = visit(f"?__theme={theme}")
    shades = page.evaluate(
        """() => { const box = document.querySelector('#other textarea');
        return [getComputedStyle(box, '::placeholder').color, getComputedStyle(box).backgroundColor]; }"""
    )
    lighter, darker = sorted(map(luminance, shades), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def luminance(shade: str) -> float:
    """Of a colour `rgb(R, G, B)`, as WCAG 2.2 defines it."""
    parts = [int(part) / 255 for part in re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", shade).groups()]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_dark_mode_has_colours_of_its_own(visit, picture):
    light, dark = visit("?__theme=light"), visit("?__theme=dark")
    for name in ("--page", "--low", "--middle", "--high", "--model-0", "--model-1", "--class-0"):
        values = [
            page.evaluate("name => getComputedStyle(document.querySelector('.unrolled')).getPropertyValue(name)", name)
            for page in (light, dark)
        ]
        assert values[0] != values[1]
    images = [page.locator("image.heat").first.get_attribute("href") for page in (light, dark)]
    assert images[0] != images[1]
    picture(dark)


def test_on_a_narrow_screen_the_networks_stand_one_above_the_other_with_the_words_in_sight(visit, picture):
    page = visit(viewport={"width": 375, "height": 740})
    left, right = (page.locator(f".verdicts .side-{side}").bounding_box() for side in (0, 1))
    assert left["y"] + left["height"] <= right["y"]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.locator(".ledger").scroll_into_view_if_needed()
    expect(page.locator(".strip .token").first).to_be_in_viewport()
    picture(page)


def test_reduced_motion_is_respected(visit):
    page = visit(reduced_motion="reduce")
    duration = page.locator(".panels").evaluate("node => getComputedStyle(node).transitionDuration")
    assert duration == "0s"


def test_focus_is_visible_and_every_control_has_a_name(visit):
    page = visit()
    page.keyboard.press("Tab")
    focus(page)
    page.keyboard.press("Tab")
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    nameless = page.locator(".unrolled button, .unrolled select, .unrolled input").evaluate_all(
        "all => all.filter((each) => !(each.textContent.trim() || (each.labels && each.labels.length))).length"
    )
    assert nameless == 0


def test_an_answer_comes_while_a_person_types_fast(visit):
    page = visit()
    box = page.locator("#sentence textarea")
    box.fill("")
    box.press_sequentially("NASA lands on Mars and finds water there", delay=15)
    expect(page.locator(".strip .side-1 .token").last).to_have_text("there")
    answered(page)
    time.sleep(0.3)
    assert words(page)[-1] == "there"
