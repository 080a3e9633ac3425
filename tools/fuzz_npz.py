"""Give 500 random .npz files, most of them damaged, to ``ssmbench gain FILE --json``.

    python tools/fuzz_npz.py                      # exit code 1 if any answer is wrong
    python tools/fuzz_npz.py --seeds 17 403       # only these files, with their answers
    python tools/fuzz_npz.py --keep folder        # store the files there

A correct answer has exit code 0 and JSON, or exit code 2 and one line; no traceback, no warning and
no other output. Every 50th file is also read in a separate process, whose answer must be the same.
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


def check(seed: int, folder: Path) -> tuple[str, npz_fuzz.Answer, list[str]]:
    """The kind of a file, the answer of the command, and what is wrong with that answer."""
    kind, content = npz_fuzz.fuzzed(seed)
    path = folder / f"{seed}.npz"
    path.write_bytes(content)
    answer = npz_fuzz.ask(path)
    found = npz_fuzz.faults(answer)
    if seed % EVERY == 0:
        alone = in_a_process(path)
        found += [f"in a separate process: {fault}" for fault in npz_fuzz.faults(alone)]
        if not found and (alone.code, alone.out) != (answer.code, answer.out):
            found.append("the answer of a separate process differs")
    return kind, answer, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--seeds", type=int, nargs="*", help="only these files, with their answers")
    parser.add_argument("--keep", type=Path, help="folder in which to store the files")
    options = parser.parse_args()
    codes, failed, longest, started = Counter(), 0, 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in options.seeds or range(options.files):
            before = time.perf_counter()
            kind, answer, found = check(seed, folder)
            longest = max(longest, time.perf_counter() - before)
            codes[answer.code] += 1
            failed += bool(found)
            for fault in found:
                print(f"{seed} {kind}: {fault}")
            if options.seeds:
                print(f"{seed} {kind}: {answer}")
    seconds = time.perf_counter() - started
    print(f"{codes.total()} files, codes {dict(codes)}, {failed} with a wrong answer")
    print(f"{seconds:.0f} s, the longest {longest:.1f} s")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
