"""Settings are checked before anything heavy is imported."""

import subprocess
import sys


def test_checking_the_settings_does_not_wait_for_torch_or_lightning() -> None:
    program = (
        "import sys, recdl.training.settings as s, recdl.training.tracking as t;"
        "s.TrainerSettings(tracking=t.TensorBoardTracking());"
        "print([name for name in ('torch', 'pytorch_lightning') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
