"""The bundle's README: what the model is, what it learned from and what it scored, for whoever receives it."""

from collections.abc import Mapping
from typing import Any

_CARD = """\
# {model}, trained on {data}

A recommender exported by recdl {recdl_version} on {created}.

- **Model**: `{target}`, seed {seed}; the settings are in `manifest.json`.
- **Data**: {data} (fingerprint `{data_fingerprint}`), {n_users:,} users, {n_items:,} items;
  behaviors: {behaviors}.
- **Trained**: by the run `{run_id}`, finished on {finished}{provenance}.
- **Split**: {split} (fingerprint `{split_fingerprint}`). The model learned from the train part; the
  validation part may have chosen when to stop, the test part was only measured on.
- **Recommends**: {n_candidates:,} of the {n_items:,} items, those that were ranked when it was
  evaluated. There, what a query's history held {history} recommended again.

## Measured

Full ranking over those items, protocol {protocol} (fingerprint `{protocol_fingerprint}`),
metric version {metric_version}. Figures compare only with figures on the same data, split and protocol.

{tables}
{onnx}## Use

    recdl recommend bundle=PATH histories=FILE k=10

`FILE` is a CSV or Parquet file of `user_id,item_id` and, where known, `behavior` and `timestamp`. The bundle holds
the weights, the raw ids of users and items, and which items may be recommended; it holds no event of the log. User
ids can be personal data: pass the bundle on only to whom they may be given.
"""

_PARTS = {"test": "Test part", "validation": "Validation part"}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the README of a bundle as Markdown; it holds no raw id."""
    run = manifest["run"]
    history = "was never" if manifest["exclude_history"] else "could be"
    return _CARD.format(
        model=run["model"],
        data=run["data"]["name"],
        recdl_version=manifest["recdl_version"],
        created=manifest["created"],
        target=manifest["model"]["_target_"],
        seed=run["seed"],
        data_fingerprint=run["data"]["fingerprint"][:12],
        n_users=manifest["n_users"],
        n_items=manifest["n_items"],
        n_candidates=manifest["n_candidates"],
        behaviors=", ".join(manifest["behaviors"]),
        run_id=run["run_id"],
        finished=run["finished"],
        provenance=_provenance(run),
        onnx=_onnx(manifest.get("onnx")),
        split=run["split"]["name"],
        split_fingerprint=run["split"]["fingerprint"][:12],
        history=history,
        protocol=run["protocol"]["name"],
        protocol_fingerprint=run["protocol"]["fingerprint"][:12],
        metric_version=run["metric_version"],
        tables="".join(_table(run, part=part, title=title) for part, title in _PARTS.items()),
    )


def _provenance(run: Mapping[str, Any]) -> str:
    """Return what is known of how the run came about, as clauses that go on with a sentence."""
    git, parts = run.get("git"), []
    if git:
        changed = ", with changes that were not committed" if git.get("dirty") else ""
        parts.append(f"; code at commit `{git['commit'][:12]}`{changed}")
    if (run.get("trials") or 1) > 1:
        parts.append(f"; its settings are the best of {run['trials']:,} that were tried on validation")
    if run.get("checkpoint"):
        parts.append(f"; the weights are those of its checkpoint `{run['checkpoint']}`, which was not tested")
    return "".join(parts)


def _onnx(about: Mapping[str, Any] | None) -> str:
    if not about:
        return ""
    rows = [f"| `{name}` | {meaning} |" for part in ("inputs", "output") for name, meaning in about[part].items()]
    checked = f"differed by at most {about['max_difference']:.1g} when it was written"
    lines = [
        "## ONNX",
        "",
        f"`model.onnx` (opset {about['opset']}) scores as the model does; onnxruntime's scores {checked}.",
        "",
        "| input, output | what |",
        "|---|---|",
        *rows,
    ]
    return "\n".join([*lines, "", ""])


def _table(run: Mapping[str, Any], *, part: str, title: str) -> str:
    metrics = {
        name.removeprefix(f"{part}/"): value
        for name, value in run["metrics"].items()
        if name.startswith(f"{part}/")
    }
    if not metrics:
        return ""
    confidence = run["protocol"]["settings"].get("confidence")
    heading = f"{confidence:.0%} interval" if isinstance(confidence, float) else "interval"
    rows = [
        f"| {name} | {_figure(name, value)} | {_interval(run['intervals'].get(f'{part}/{name}'))} |"
        for name, value in metrics.items()
    ]
    return "\n".join([f"### {title}", "", f"| metric | value | {heading} |", "|---|---:|---:|", *rows, "", ""])


def _figure(name: str, value: float) -> str:
    return f"{value:,.0f}" if name.startswith("n_") else f"{value:.4f}"


def _interval(ends: tuple[float, float] | list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
