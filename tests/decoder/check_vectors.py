#!/usr/bin/env python3
"""Hold backstay_decode.py against the frozen examples in tests/vectors: same verdicts, same bytes released."""
import base64
import hashlib
import io
import json
import os
import pathlib
import sys
import tempfile

import zstandard
from cryptography.hazmat.primitives.serialization import load_der_private_key

import backstay_decode as decoder
import backstay_log

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
            put(root / "repo" / name, raw)
        signer = {"id": "signer", "algorithm": "ed25519", "public": example["signer"]}
        (root / "trust").write_text(json.dumps({"backstay_trust": 1, "signers": [signer]}))
        (root / "kek").write_text(json.dumps(example["kek"]))
        (root / "kek").chmod(0o600)

        repository, cluster = outcome(lambda: decoder.Repository(root / "repo", "prod", root / "trust"))
        assert (cluster is None) == (example["cluster"] is None), f"cluster: found {cluster}"
        if cluster:
            return
        def whole():
            manifest = repository.manifest("b1")
            repository.bases(manifest)
            return manifest
        manifest, error = outcome(whole)
        assert (error is None) == (example["manifest"] is None), f"manifest: found {error}"
        dek, error = outcome(lambda: repository.dek("d2" * 16, decoder.Kek(root / "kek")))
        assert (error is None) == (example["dek"] is None), f"dek: found {error}"
        standings = repository.standings("backups", "b1") if manifest else {}
        own = hashlib.sha256((root / "repo/prod/backups/b1/manifest.json").read_bytes()).hexdigest() if manifest else None
        found = [s for subject, s in standings.items() if own in subject] or ["free"]
        assert found == [example.get("standing", "free")], f"standing: found {standings}"
        assert not manifest or ("b1" in repository.backups()) == (found != ["swept"]), "listed, or not"
        _, error = outcome(repository.audit_head)
        assert (error is None) == (not example["audit"]), f"audit: found {error}"
        _, error = outcome(lambda: list(repository.drills()))
        assert (error is None) == (example.get("drill") is None), f"drill: found {error}"
        if manifest and dek:
            out = root / "out"
            decoder.write_stream(repository, manifest, dek, out)
            assert out.stat().st_size == manifest["bytes_read"]


def check_wrap(example):
    """A DEK wrapped by a service whose key lies in the example."""
    key = bytes.fromhex(example["aes"]) if "aes" in example else load_der_private_key(base64.b64decode(example["rsa"]), None)
    context = "backstay:cluster={cluster}\nbackstay:dek={dek_id}\nbackstay:purpose={purpose}\n".format(**example).encode()
    raw = base64.b64decode(example["ciphertext"])
    dek, error = outcome(lambda: decoder.open_azure_wrap(example["algorithm"], key, raw, context))
    assert (dek and dek.hex()) == example["dek"], f"expected {example['dek']}, found {dek or error}"


BASES = {}


def put(path, raw):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(raw))


def base(name):
    """A base, and the folder in which it lies: examples link to what they do not change."""
    if name not in BASES:
        raw = (VECTORS / "logs" / f"base-{name}.json.zst").read_bytes()
        common, folder = json.loads(zstandard.ZstdDecompressor().decompress(raw)), tempfile.TemporaryDirectory()
        for key, raw in common["objects"].items():
            put(pathlib.Path(folder.name) / key, raw)
        BASES[name] = common, folder
    return BASES[name]


def check_log(example):
    """A repository with a log: the head, by both ways to read it, and every copy of every file."""
    common, lies = base(example["base"])
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for key in {key.rpartition("/")[0] for key in common["objects"]}:
            (root / "repo" / key).mkdir(parents=True, exist_ok=True)
        for key in common["objects"].keys() - example["changes"].keys():
            if "/log/" not in key or int(key.rsplit("/", 1)[1]) <= example.get("up_to", 1 << 64):
                os.link(f"{lies.name}/{key}", root / "repo" / key)
        for key, raw in example["changes"].items():
            if raw is not None:
                put(root / "repo" / key, raw)
        signer = {"id": "signer", "algorithm": "ed25519", "public": common["signer"]}
        (root / "trust").write_text(json.dumps({"backstay_trust": 1, "signers": [signer]}))
        (root / "kek").write_text(json.dumps(common["kek"]))
        (root / "kek").chmod(0o600)

        log = backstay_log.Log(decoder.Repository(root / "repo", "prod", root / "trust"))
        for way in "check", "tip":
            state, error = outcome(log.all if way == "check" else log.tip)
            found = {"error": error} if error else {"head": f"{state.number}:{state.digest}"}
            assert found.keys() == example[way].keys(), f"{way}: expected {example[way]}, found {found}"
            assert error or found == example[way], f"{way}: expected {example[way]}, found {found}"
        if state:
            copies, error = outcome(lambda: log.copies(state, decoder.Kek(root / "kek")))
        if error:
            assert "error" in example["copies"], f"copies: expected {example['copies']}, found {error}"
            return
        found = [["{server}/{file}".format(**c["range"]), hashlib.sha256(c["bytes"]).hexdigest(), c["closed"]] for c in copies]
        assert {"files": found} == example["copies"], f"copies: expected {example['copies']}, found {found}"


def main():
    failed = checked = 0
    for folder, check in ("objects", check_object), ("repositories", check_repository), ("logs", check_log), \
            ("wraps", check_wrap):
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
