from recdl.evaluation.learning import learning_curves


def epochs(*values: float, metric: str = "ndcg@10", loss: float | None = 2.0) -> list[dict[str, float | None]]:
    return [{"epoch": n, "loss": loss, f"validation/{metric}": value} for n, value in enumerate(values)]


def test_epochs_are_counted_from_one_and_the_first_of_the_best_is_marked() -> None:
    curve = learning_curves({"lstm": epochs(0.1, 0.3, 0.3)}, "ndcg@10")["lstm"]
    assert curve.epochs == (1, 2, 3)
    assert curve.values == (0.1, 0.3, 0.3)
    assert curve.best == 1


def test_models_that_learn_in_one_go_have_no_curve() -> None:
    assert list(learning_curves({"ease": [], "lstm": epochs(0.1)}, "ndcg@10")) == ["lstm"]


def test_without_the_primary_metric_one_of_its_kind_that_most_have_is_shown() -> None:
    entries = {
        "a": epochs(0.1, metric="ndcg@20"),
        "b": epochs(0.2, metric="ndcg@20"),
        "c": epochs(0.3, metric="hr@5"),
    }
    curves = learning_curves(entries, "ndcg@10")
    assert [(curve.metric, curve.best) for curve in curves.values()] == [
        ("ndcg@20", 0),
        ("ndcg@20", 0),
        (None, None),
    ]


def test_a_run_without_validation_has_a_curve_of_its_loss_alone() -> None:
    curve = learning_curves({"a": [{"epoch": 0, "loss": 1.5}]}, "ndcg@10")["a"]
    assert (curve.losses, curve.values, curve.best) == ((1.5,), (), None)


def test_a_loss_that_was_no_number_is_left_out() -> None:
    assert learning_curves({"a": epochs(0.1, loss=None)}, "ndcg@10")["a"].losses == (None,)
