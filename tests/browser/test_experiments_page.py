"""Experiments, units, silencing and two sentences in a browser."""

from __future__ import annotations

import csv

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

OTHER = "Chelsea win the cup final."
expect.set_options(timeout=30_000)  # a busy machine computes an experiment for seconds


def test_each_experiment_is_drawn_for_both_with_the_test_rows_and_saved_as_csv(visit, picture, tmp_path):
    page = visit()
    page.fill("#other textarea", OTHER)
    page.get_by_role("tab", name="Experiments").click()
    for name in ("word_order", "distance", "two_halves", "padding", "referee"):
        page.click(f".experiments [data-tab={name}]")
        panel = page.locator(f"[data-experiment={name}]")
        expect(panel).to_be_visible()
        for part in ("How:", "What not to conclude:", "Test rows"):
            expect(panel).to_contain_text(part)
        for side in (0, 1):
            with page.expect_download() as download:
                panel.locator(f"[data-act=csv-{side}]").click()
            download.value.save_as(tmp_path / "saved.csv")
            rows = list(csv.reader((tmp_path / "saved.csv").open(newline="")))
            assert len(rows) > 4
            assert len({len(row) for row in rows}) == 1
    picture(page)


def test_an_experiment_follows_the_sentence_and_takes_text_as_text(visit):
    page = visit()
    page.get_by_role("tab", name="Experiments").click()
    expect(page.locator("[data-experiment=word_order]")).to_be_visible()
    page.click(".experiments [data-tab=padding]")
    page.fill("#sentence textarea", "<img src=x onerror=alert(1)> cup final")
    expect(page.locator("[data-experiment=padding] .sayings")).to_contain_text("Sports")


def test_a_unit_is_silenced_and_the_page_says_what_changed(visit, picture):
    page = visit()
    page.select_option("[data-act=unit]", "0")
    expect(page.locator(".unit-pages .unit-page")).to_have_count(2)
    page.click("[data-act=silence-1]")
    expect(page.locator(".changed")).to_contain_text("The verdict")
    expect(page.locator(".without")).to_contain_text("Without unit")
    page.wait_for_function("location.hash.includes('silenced=')")
    page.reload()
    expect(page.locator(".without")).to_contain_text("Without unit")
    picture(page)
    page.click("[data-act=silence-1]")
    expect(page.locator(".without")).to_have_count(0)


def test_a_second_sentence_is_compared_in_the_viewer_and_stays_in_the_link(visit):
    page = visit()
    assert page.locator(".comparison").count() == 0
    page.fill("#other textarea", OTHER)
    expect(page.locator(".comparison .half")).to_have_count(2)
    page.wait_for_function("location.hash.includes('other=')")
    page.reload()
    expect(page.locator(".comparison .half")).to_have_count(2)
    page.fill("#other textarea", "")
    expect(page.locator(".comparison")).to_have_count(0)


def test_the_units_tab_opens_the_page_of_a_unit(visit, picture):
    page = visit()
    page.get_by_role("tab", name="Units").click()
    page.click('[data-key="unit-1-5"]')
    expect(page.locator(".units .opened")).to_contain_text("Unit 5 of LSTM")
    expect(page.locator(".units .opened .windows li")).to_have_count(8)
    picture(page)


def test_on_a_phone_the_accuracy_without_a_unit_is_in_sight(visit):
    page = visit(viewport={"width": 375, "height": 800})
    page.get_by_role("tab", name="Units").click()
    page.wait_for_selector(".units .all-units")
    edges = page.eval_on_selector_all(
        ".units .wide",
        "all => all.map((box) => [box.querySelector('td:nth-child(4)').getBoundingClientRect().right,"
        " box.getBoundingClientRect().right])",
    )
    assert len(edges) == 2
    assert all(cell <= box for cell, box in edges), edges


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Experiments", "Units"])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_a_phone(visit, picture, theme, tab):
    page = visit(f"?__theme={theme}", viewport={"width": 375, "height": 800})
    page.get_by_role("tab", name=tab).click()
    component = f".{tab.lower()}"
    expect(page.locator(f"{component} .panel")).to_be_visible()
    picture(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    found = Axe().run(page, context=component).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
