"""A process that compiles a model by Arm's Vela: ``python -m edgekd.vela_child compile``.

The near side is :mod:`edgekd.vela`. A stranger's model that crashes the compiler takes this process with it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from edgekd.model_child import limit_memory, main


def compile_model(request: dict[str, Any]) -> dict[str, Any]:
    """Compile.

    Args:
        request: ``model``, a path; ``options``, Vela's, as on its command line; ``folder``, where its files go.

    Raises:
        ValueError: Vela refuses the model.
    """
    limit_memory()
    # What Vela prints, its C++ part too, would stand between this process and the one that asked it.
    sys.stdout.flush()
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        from ethosu.vela import vela

        code = vela.main([request["model"], *request["options"], "--output-dir", request["folder"]])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        os.dup2(answers, 1)
    if code:
        raise ValueError(f"Vela ended with {code}")
    return {}


if __name__ == "__main__":
    main({"compile": compile_model})
