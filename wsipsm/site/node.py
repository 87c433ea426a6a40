"""What a job sees on a node, as one line of JSON: `python -m wsipsm.site.node FILE`."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any


def seen_here(shared: Path) -> dict[str, Any]:
    """Host, clock, GPUs that PyTorch finds, and whether the file `shared` is there."""
    import torch

    return {
        "host": socket.gethostname(),
        "time": time.time(),
        "gpus": torch.cuda.device_count(),
        "cores": len(os.sched_getaffinity(0)),
        "shared": shared.exists(),
    }


if __name__ == "__main__":
    print(json.dumps(seen_here(Path(sys.argv[1]))))
