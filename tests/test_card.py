"""The model card: valid metadata and honest numbers, whatever the classes are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from tiny import tiny

from model import card
from model.corpus import AG_NEWS_LABELS

HOSTILE = (
    "a: b",
    "- c",
    "'\"",
    "---",
    "| d |",
    "<script>alert(1)</script>",
    "{% x %}",
    "`e`",
    "\u2028f",
    "#g",
    "!h",
    "\\",
    "*i*",
    "```",
    "[x](javascript:1)",
)


def test_the_metadata_is_valid_and_holds_the_accuracy() -> None:
    text = card.render(tiny(), "owner/name")
    data = ModelCard(text).data
    assert data.pipeline_tag == "text-classification"
    assert data.model_name == "name"
    accuracy = {result.metric_type: result.metric_value for result in data.eval_results}
    assert accuracy == {"accuracy": round(16 / 18, 4), "f1": round(16 / 18, 4)}


@pytest.mark.parametrize("name", ["owner/name", "a: b", "it's {odd}", "/tmp/x/- y", "\u2028", "..", "a\nb", "---"])
def test_the_metadata_is_valid_whatever_the_labels_and_the_name_are(name: str) -> None:
    text = card.render(tiny(labels=HOSTILE), name)
    data = ModelCard(text).data
    assert data.eval_results[0].metric_type == "accuracy"
    assert "<script>" not in text
    assert "[x](" not in text


def test_every_table_has_as_many_cells_in_each_row() -> None:
    lines = card.render(tiny(labels=HOSTILE), "owner/name").splitlines()
    tables = [line.replace(r"\|", "") for line in lines if line.startswith("|")]
    counts = {line.count("|") for line in tables}
    assert counts == {3, 6, len(HOSTILE) + 2}


def test_precision_recall_and_f1_follow_from_the_confusion_matrix() -> None:
    metrics = card.class_metrics([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert metrics[0] == pytest.approx((6 / 7, 6 / 8, 12 / 15, 8))
    assert metrics[1] == pytest.approx((3 / 5, 3 / 4, 6 / 9, 4))
    assert metrics[2] == (0, 0, 0, 0)


def test_accuracy_stands_with_its_interval() -> None:
    text = card.render(tiny(), "owner/name")
    assert "**Accuracy 88.89%** on 18 test rows (95 % interval 67.20% to 96.90%, Wilson)" in text
    assert "| Sport | 0.889 | 0.889 | 0.889 | 9 |" in text
    assert "| Sport | 8 | 1 |" in text


def test_a_card_says_how_to_load_the_classifier() -> None:
    assert 'load("owner/name")' in card.render(tiny(), "owner/name")
    assert 'load("checkpoints/lstm")' in card.render(tiny(), "checkpoints/lstm")


def test_a_card_does_not_tell_where_on_a_machine_it_was_made() -> None:
    assert "somebody" not in card.render(tiny(), "/home/somebody/lstm")


def test_ag_news_brings_its_terms_and_another_corpus_does_not() -> None:
    test = {"rows": 7600, "accuracy": 1.0, "interval": [0.99, 1.0]}
    test["confusion"] = [[1900 if i == j else 0 for j in range(4)] for i in range(4)]
    ours, other = card.render(tiny(labels=AG_NEWS_LABELS, test=test), "a/b"), card.render(tiny(), "a/b")
    assert "non-commercial" in ours
    assert ModelCard(ours).data.datasets == ["fancyzhx/ag_news"]
    assert "non-commercial" not in other
    assert ModelCard(other).data.datasets is None


@pytest.mark.parametrize("record", [{}, {"rows": 3, "training": 4, "digests": [], "recipe": {}, "curves": 1}])
def test_a_classifier_without_a_record_has_a_card(record: dict) -> None:
    classifier = tiny()
    classifier.record = record
    text = card.render(classifier, "owner/name")
    assert "Not evaluated" in text
    assert ModelCard(text).data.eval_results is None


def test_a_card_knows_whether_someone_edited_it() -> None:
    text = card.render(tiny(labels=HOSTILE), "owner/name")
    assert not card.edited_by_hand(text.encode())
    assert not card.edited_by_hand(text.replace("\n", "\r\n").encode())
    assert not card.edited_by_hand(text.rstrip().encode())
    assert not card.edited_by_hand(b" \n")
    assert card.edited_by_hand(text.replace("Limits", "Limitations").encode())
    assert card.edited_by_hand((text + "More.\n").encode())
    assert card.edited_by_hand(b"# Mine\n")
    assert card.edited_by_hand(b"\xff\xfe")


def test_a_saved_directory_holds_the_card(tmp_path: Path) -> None:
    from model import save

    save(tiny(), tmp_path / "it")
    assert (tmp_path / "it" / "README.md").read_text() == card.render(tiny(), str(tmp_path / "it"))
