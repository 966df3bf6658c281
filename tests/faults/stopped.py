"""A run that is sent a signal when its log says something.

    python -m tests.faults.stopped SIGTERM 'extractor saved' --config=... --workdir=...

From outside, the line would be read when the run is somewhere else already.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from logging import Handler, LogRecord

from absl import app, logging

from csdm_jax import main
from csdm_jax.experiment import command_line
from csdm_jax.runtime import interruption


class SignalAtLine(Handler):
    """Sends the process a signal at the first line that holds a text, and waits until it is known.

    Args:
      number: of the signal.
      text: what the line holds.
    """

    def __init__(self, number: int, text: str):
        super().__init__()
        self._number, self._text, self._sent = number, text, False

    def emit(self, record: LogRecord) -> None:
        """Is given every line."""
        if self._sent or self._text not in record.getMessage():
            return
        self._sent = True
        os.kill(os.getpid(), self._number)
        while not interruption.requested():
            time.sleep(0.01)


if __name__ == "__main__":
    name, text = sys.argv[1:3]
    del sys.argv[1:3]
    logging.get_absl_logger().addHandler(SignalAtLine(signal.Signals[name], text))
    app.run(main.main, flags_parser=command_line.parse_flags)
