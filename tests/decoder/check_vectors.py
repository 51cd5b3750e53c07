#!/usr/bin/env python3
"""Hold backstay_decode.py against the frozen examples in tests/vectors: same verdicts, same bytes released."""
import base64
import hashlib
import io
import json
import pathlib
import sys
import tempfile

import backstay_decode as decoder

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"


def outcome(job):
    try:
        return job(), None
    except decoder.Refused as error:
        return None, str(error)


def check_object(example):
    """Volumes, tails or segments, with the DEK given: what is released before the first error is compared too."""
    run = {"cluster_uuid": example["cluster"], "run_id": example["run"], "dek_id": example["dek_id"]}
    kind = {"volume": decoder.VOLUME, "tail": decoder.TAIL, "segment": decoder.SEGMENT}[example.get("kind", "volume")]
    released = b""
    try:
        for number, volume in enumerate(example["volumes"]):
            raw = base64.b64decode(volume["object"])
            described = volume["record"] | {"sequence": number}
            opened = decoder.open_object(io.BytesIO(raw), len(raw), run, kind, described,
                                         bytes.fromhex(example["dek"]), f"vol-{number:05}")
            for plain in opened:
                released += plain
        error = None
    except decoder.Refused as refused:
        error = str(refused)
    assert (error is None) == (example["error"] is None), f"expected {example['error']}, found {error}"
    digest = hashlib.sha256(released).hexdigest()
    assert (len(released), digest) == (example["released_bytes"], example["released_sha256"]), "other bytes released"


def check_repository(example):
    """A whole repository: which record is refused, and whether the stream comes out."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, raw in example["objects"].items():
            path = root / "repo" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(raw))
        signer = {"id": "signer", "algorithm": "ed25519", "public": example["signer"]}
        (root / "trust").write_text(json.dumps({"backstay_trust": 1, "signers": [signer]}))
        (root / "kek").write_text(json.dumps(example["kek"]))
        (root / "kek").chmod(0o600)

        repository, cluster = outcome(lambda: decoder.Repository(root / "repo", "prod", root / "trust"))
        assert (cluster is None) == (example["cluster"] is None), f"cluster: found {cluster}"
        if cluster:
            return
        manifest, error = outcome(lambda: repository.manifest("b1"))
        assert (error is None) == (example["manifest"] is None), f"manifest: found {error}"
        dek, error = outcome(lambda: repository.dek("d2" * 16, decoder.Kek(root / "kek")))
        assert (error is None) == (example["dek"] is None), f"dek: found {error}"
        _, error = outcome(repository.audit_head)
        assert (error is None) == (not example["audit"]), f"audit: found {error}"
        if manifest and dek:
            out = root / "out"
            decoder.write_stream(repository, manifest, dek, out)
            assert out.stat().st_size == manifest["bytes_read"]


def main():
    failed = checked = 0
    for folder, check in ("objects", check_object), ("repositories", check_repository):
        for path in sorted((VECTORS / folder).glob("*.json")):
            checked += 1
            try:
                check(json.loads(path.read_bytes()))
            except (AssertionError, decoder.Refused) as error:
                failed += 1
                print(f"{folder}/{path.name}: {error}", file=sys.stderr)
    print(f"{checked} examples, {failed} differ")
    sys.exit(1 if failed or not checked else 0)


if __name__ == "__main__":
    main()
