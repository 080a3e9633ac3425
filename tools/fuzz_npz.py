"""500 seeded .npz files, most of them broken, through ``ssmbench gain FILE --json``.

    python tools/fuzz_npz.py                      # exit code 1 if any answer is not as it must be
    python tools/fuzz_npz.py --seeds 17 403       # some files, with their answers
    python tools/fuzz_npz.py --keep folder        # leave the files there

As it must be: exit code 0 and JSON, or 2 and one line; no traceback, no warning, nothing else
written. One file in 50 also goes through a process of its own, which must answer the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import npz_fuzz  # noqa: E402

FILES = 500
EVERY = 50


def in_a_process(path: Path) -> npz_fuzz.Answer:
    command = [sys.executable, "-m", "ssmbench", "gain", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return npz_fuzz.Answer(done.returncode, done.stdout, done.stderr)


def examine(seed: int, folder: Path) -> tuple[str, npz_fuzz.Answer, list[str]]:
    """The kind of a file, the answer, and what is wrong with it."""
    kind, content = npz_fuzz.fuzzed(seed)
    path = folder / f"{seed}.npz"
    path.write_bytes(content)
    answer = npz_fuzz.ask(path)
    found = npz_fuzz.faults(answer)
    if seed % EVERY == 0:
        alone = in_a_process(path)
        found += [f"in a process of its own: {fault}" for fault in npz_fuzz.faults(alone)]
        if not found and (alone.code, alone.out) != (answer.code, answer.out):
            found.append("a process of its own answers otherwise")
    return kind, answer, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--seeds", type=int, nargs="*", help="these alone, with their answers")
    parser.add_argument("--keep", type=Path, help="a folder for the files")
    options = parser.parse_args()
    codes, failed, longest, started = Counter(), 0, 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in options.seeds or range(options.files):
            before = time.perf_counter()
            kind, answer, found = examine(seed, folder)
            longest = max(longest, time.perf_counter() - before)
            codes[answer.code] += 1
            failed += bool(found)
            for fault in found:
                print(f"{seed} {kind}: {fault}")
            if options.seeds:
                print(f"{seed} {kind}: {answer}")
    seconds = time.perf_counter() - started
    print(f"{codes.total()} files, codes {dict(codes)}, {failed} not as they must be")
    print(f"{seconds:.0f} s, the longest {longest:.1f} s")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
