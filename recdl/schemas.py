"""What each verb may be told: the keys of its YAML file, and the type of each."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recdl.data.inputs import Piece
from recdl.search.settings import SearchSettings

Node = dict[str, Any]
"""A group's part of a configuration: `_target_` and the target's parameters."""


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    data_root: str
    progress: bool
    names: dict[str, str]


class PrepareSettings(_Settings):
    """What `prepare` is told."""

    prepared_root: str
    data: Node
    engine: Node


class AppendSettings(_Settings):
    """What `append` is told."""

    prepared: str
    data: Piece
    new_behaviors: tuple[str, ...]
    engine: Node


class InspectSettings(PrepareSettings):
    """What `inspect` is told."""

    split: Node
    output: str | None
    suspects: str | None
    order_events: int = Field(ge=1)
    seed: int = Field(ge=0, lt=2**32)


class _RunSettings(PrepareSettings):
    split: Node
    trainer: Node
    tracking: Node
    evaluation: Node
    seed: int = Field(ge=0, lt=2**32)
    refit: bool
    run_dir: str | None
    overwrite: bool


class TrainSettings(_RunSettings):
    """What `train` is told."""

    model: Node
    start_from: tuple[str, ...]
    resume: str | None = None
    trials: int = Field(default=1, ge=1)


class SweepSettings(_RunSettings):
    """What `sweep` is told."""

    model: Node
    sweep: SearchSettings


class TuningSettings(BaseModel):
    """How many settings of each model a benchmark tries on validation."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    trials: int = Field(ge=1)


class BenchmarkSettings(_RunSettings):
    """What `benchmark` is told."""

    models: tuple[str, ...] = Field(min_length=1)
    baselines: tuple[str, ...] | None
    variants: dict[str, tuple[str, ...]] | None
    overrides: dict[str, tuple[str, ...]] | None
    seeds: int = Field(ge=1)
    tuning: TuningSettings
    trials: dict[str, int] | None


class EvaluateSettings(_Settings):
    """What `evaluate` is told."""

    run: str
    evaluation: Node
    recommendations: str | None
    name: str | None
    prepared: str | None
    run_dir: str | None
    overwrite: bool


class ReproduceSettings(_Settings):
    """What `reproduce` is told."""

    run: str
    tolerance: float = Field(ge=0)
    prepared: str | None
    run_dir: str | None
    overwrite: bool


class CompareSettings(_Settings):
    """What `compare` is told."""

    runs: tuple[str, ...]
    search: str | None
    reference: str | None
    metrics: tuple[str, ...] | None
    test: Literal["permutation", "bootstrap"]
    difference: float | None = Field(gt=0)
    unfinished: Literal["refuse", "leave_out"]
    pair: tuple[str, str] | None
    examples: int = Field(ge=0)
    item_name: str | None
    prepared: str | None
    output: str | None


class ExportSettings(_Settings):
    """What `export` is told."""

    run: str
    checkpoint: str | None
    bundle: str | None
    onnx: bool
    prepared: str | None
    overwrite: bool


class RecommendSettings(_Settings):
    """What `recommend` is told."""

    bundle: str
    users: tuple[str | int, ...] | str | int | None
    histories: str | None
    prepared: str | None
    prepared_root: str
    key_variable: str
    key_file: str | None
    k: int = Field(ge=1)
    exclude_history: bool | None
    output: str | None


class ForgetSettings(_Settings):
    """What `forget` is told."""

    users: tuple[str | int, ...] | None
    users_file: str | None
    prepared_root: str
    prepared: str | None
    key_variable: str
    key_file: str | None
    runs: tuple[str, ...]
    bundles: tuple[str, ...]
    output: str | None


SCHEMAS: dict[str, type[_Settings]] = {
    "prepare": PrepareSettings,
    "append": AppendSettings,
    "inspect": InspectSettings,
    "train": TrainSettings,
    "sweep": SweepSettings,
    "benchmark": BenchmarkSettings,
    "evaluate": EvaluateSettings,
    "reproduce": ReproduceSettings,
    "compare": CompareSettings,
    "export": ExportSettings,
    "recommend": RecommendSettings,
    "forget": ForgetSettings,
}
"""What each verb may be told, by the name of its YAML file."""
