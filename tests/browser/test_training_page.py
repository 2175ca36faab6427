"""The Training tab in a browser, of classifiers whose labels, titles and records are hostile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import App
from tiny import tiny

from model import save

HOSTILE = "<img src=x onerror=alert(1)>**bold** ${alert(2)} {{value}} @children"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The page with two such classifiers."""
    place = tmp_path_factory.mktemp("hostile")
    points = [
        {"epoch": n, "train_loss": 1 / n, "train_accuracy": 0.5, "validation_loss": 2 / n, "validation_accuracy": 0.6}
        for n in (1, 2, 3)
    ]
    names = [str(place / name) for name in ("<b>left", "<b>right")]
    for name in names:
        record = {"curves": points, "recipe": HOSTILE, "versions": {HOSTILE: HOSTILE}}
        save(tiny(labels=(HOSTILE, "| a | b |"), **record), name)
    running = App(place / "log", "--models", *names)
    yield running
    running.stop()


def test_curves_are_drawn_once_the_tab_is_opened_and_text_stays_text(visit, picture):
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert page.locator(".training").count() == 0
    page.get_by_role("tab", name="Training").click()
    page.wait_for_selector(".training table")
    page.wait_for_function("document.querySelectorAll('svg.marks').length === 4")
    assert any("embed" in url for url in asked)  # the drawing library, which the first paint does without
    shown = page.locator(".training").all_inner_texts()
    assert sum(text.count(HOSTILE) for text in shown) >= 5
    assert any("LSTM <b>left" in text for text in shown)
    assert page.locator(".training img, .training b, .training strong").count() == 0
    assert page.locator("svg.marks").first.get_by_text("validation", exact=True).count() == 1
    picture(page)


def test_the_reading_goes_on_after_a_look_at_the_training(visit):
    page = visit()
    page.get_by_role("tab", name="Training").click()
    page.wait_for_selector(".training table")
    page.get_by_role("tab", name="Read").click()
    page.fill("#sentence textarea", "cup stocks fell")
    page.wait_for_function("document.querySelector('.unrolled').innerText.includes('of 3)')")
    assert page.locator(".unrolled .panel").first.bounding_box()["width"] > 600


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(visit, picture, scheme):
    page = visit("?__theme=dark" if scheme == "dark" else "", viewport={"width": 375, "height": 800})
    page.get_by_role("tab", name="Training").click()
    page.wait_for_function("document.querySelectorAll('svg.marks').length === 4")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    picture(page)
