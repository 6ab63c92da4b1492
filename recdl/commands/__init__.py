"""The verbs, and the command `recdl` that runs them."""

import sys

VERBS = {
    "prepare": "turn a log of events into the form that models are trained on",
    "append": "add a later piece to a prepared log; the indices of what was there stay",
    "inspect": "say what a log is like and what is wrong with it, before training",
    "train": "train one model, evaluate it, leave a run record; with --multirun, a sweep of them",
    "sweep": "search for the settings that are best on validation, and test those",
    "evaluate": "evaluate a finished run under another protocol, or a file of recommendations under that of a run",
    "reproduce": "repeat a run from its record, and say what came out otherwise",
    "compare": "compare runs: a table, intervals, a paired test, a page; or show a sweep",
    "benchmark": "train several models on one log and compare them",
    "export": "write a run's model as a bundle to be served elsewhere",
    "recommend": "recommend items with a bundle",
    "forget": "take users out of prepared logs, and say what has learned from them",
}
"""Each verb and what it does."""


def main() -> None:
    """Run `recdl <verb> overrides...`."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in VERBS:
        asked = verb in ("", "-h", "--help")
        shown = sys.stdout if asked else sys.stderr
        print("" if asked else f"error: there is no verb {verb!r}\n", end="", file=shown)
        print("usage: recdl VERB [key=value ...]", file=shown)
        print(*(f"  {name:<10} {meaning}" for name, meaning in VERBS.items()), sep="\n", file=shown)
        print("\nrecdl VERB --help tells more of each", file=shown)
        sys.exit(0 if asked else 1)
    sys.argv[:2] = [f"recdl {verb}"]
    run(verb)


def run(verb: str) -> None:
    """Run a verb with the rest of this process's command line, and exit."""
    from recdl.commands.application import run_verb

    run_verb(verb)
