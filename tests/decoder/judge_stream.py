"""usage: judge_stream.py ENGINE FOLDER < STREAM: whether the decoder takes an xbstream for a whole one (exit 0)."""

import sys

from backstay_decode import Extractor, Refused

engine, folder = sys.argv[1:]
try:
    Extractor(iter(lambda: sys.stdin.buffer.read(1 << 20), b""), folder, {"engine": {"kind": engine}}).run()
except Refused as refused:
    sys.exit(f"refused: {refused}")
