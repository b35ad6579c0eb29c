"""Check that ``import seq2seq`` and ``seq2seq.load`` do not change the state of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent / "fixtures" / "runs_0.1" / "translation"

LOADED = """
import ctypes, json, logging, os, signal, sys, threading, warnings
# what is imported beside seq2seq may have effects of its own
import datasets, hydra, lightning, matplotlib.pyplot, PIL.Image, sacrebleu, safetensors.torch, sentencepiece, torch

called = []
class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        called.append(name)
        return super().__getattr__(name)
ctypes.CDLL = Watched

def settings():
    flags = {
        name: getattr(getattr(torch.backends, part), name)
        for part, names in {
            "cudnn": ("enabled", "benchmark", "deterministic", "allow_tf32"),
            "mkldnn": ("enabled", "deterministic", "allow_tf32"),
        }.items()
        for name in names
    }
    kernels = [f"{kind}_sdp_enabled" for kind in ("cudnn", "flash", "mem_efficient", "math")]
    return {
        "environment": dict(os.environ),
        "flags": flags,
        "attention kernels": {name: getattr(torch.backends.cuda, name)() for name in kernels},
        "torch": (torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
                  torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        "numbers": torch.get_rng_state().tolist(),
        "warnings": [str(entry) for entry in warnings.filters],
        "levels": {name: logging.getLogger(name).level for name in ("", "lightning", "lightning.pytorch", "hydra")},
        "handlers": [str(handler) for handler in logging.getLogger().handlers],
        "signals": {number: str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)},
        "threads": [thread.name for thread in threading.enumerate()],
        "backend": matplotlib.get_backend(),
        "hooks": (str(sys.excepthook), str(sys.unraisablehook)),
        "allocator": [name for name in called if name.startswith("mall")],
    }

before = settings()
import seq2seq
seq2seq.load(sys.argv[1], device="cpu")
after = settings()
assert set(before) == set(after)
print(json.dumps({name: [before[name], after[name]] for name in before if before[name] != after[name]}, default=str))
"""


def test_loading_a_model_changes_nothing_in_the_process() -> None:
    line = [sys.executable, "-c", LOADED, str(RUN)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=RUN.parents[3])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{}"


def test_loading_does_not_import_the_compiler_of_torch() -> None:
    """The import takes as long as that of torch; a draw of an initial value on the meta device would cause it."""
    program = "import sys, seq2seq; seq2seq.load('models/toy_translation'); print('torch._dynamo' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=RUN.parents[3], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
