"""What a finished run needs no more. Importing it is cheap."""

from pathlib import Path

FINISHED, FINISHED_STATE = "finished.ckpt", "finished.safetensors"
"""What a fit came to, kept until the run that it is a part of is finished."""


def forget_unfinished(run: Path) -> None:
    """Remove from the folder of a finished run what it took to go on; the weights of the best epochs stay."""
    for folder in run.rglob("checkpoints"):
        for path in [*folder.glob("last-*.ckpt"), folder / FINISHED]:
            path.unlink(missing_ok=True)
    for path in list(run.rglob(FINISHED_STATE)):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
