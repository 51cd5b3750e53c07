#!/usr/bin/env python3
"""Read the backups of a Backstay repository without Backstay: written from docs/format.md alone.
`backstay_log.py` beside it reads the archived binary logs.

Needs Python 3.11 or later and the packages `cryptography` and `zstandard`. The repository is a local folder
(copy a bucket first). Section numbers in comments are those of docs/format.md. Exit status: 0 good, 1 refused, 2 usage.

    backstay_decode.py --repo DIR --cluster NAME --trust FILE --list
    backstay_decode.py --repo DIR --cluster NAME --trust FILE --kek FILE [--backup ID] --stream OUT
    backstay_decode.py --repo DIR --cluster NAME --trust FILE --kek FILE [--backup ID] --extract DIR
"""
import argparse, base64, binascii, datetime, hashlib, hmac, json, os, pathlib, re, shutil, stat, struct, sys, zlib

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256


class Refused(Exception):
    """Something is not as docs/format.md says."""


def need(condition, message):
    if not condition:
        raise Refused(message)


# ---- 1: values. A schema maps a field to its check; a name that ends in "?" is optional. ----
ID, DIGEST, NAME, INSTANT = (re.compile(p, re.A).fullmatch for p in (
    "[0-9a-f]{32}", "[0-9a-f]{64}", "[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:([0-5]\d|60)(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"))


def is_text(v): return isinstance(v, str)
def is_bool(v): return isinstance(v, bool)
def is_int(v): return type(v) is int and 0 <= v < 1 << 64
def is_u32(v): return is_int(v) and v < 1 << 32
def is_u8(v): return is_int(v) and v < 1 << 8
def is_id(v): return is_text(v) and ID(v)
def is_digest(v): return is_text(v) and DIGEST(v)
def is_name(v): return is_text(v) and NAME(v)
def is_bytes(v): return is_text(v) and unbase64(v) is not None
def is_key(v): return is_bytes(v) and len(unbase64(v)) == 32
def among(*values): return lambda v: is_text(v) and v in values
def list_of(check): return lambda v: isinstance(v, list) and all(check(x) for x in v)
def texts(v): return isinstance(v, dict) and all(is_text(x) for x in v.values())


def is_instant(v):
    try:
        return is_text(v) and INSTANT(v) and datetime.datetime.fromisoformat(v[:16].upper())
    except ValueError:
        return False


def unbase64(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def shaped(**fields):
    """Check an object: all its fields, no other one."""
    required = {k: c for k, c in fields.items() if not k.endswith("_opt")}
    optional = {k[:-4]: c for k, c in fields.items() if k.endswith("_opt")}

    def check(value):
        need(isinstance(value, dict), "it is not an object")
        for name in required.keys() - value.keys():
            raise Refused(f"field {name} is missing")
        for name, inner in value.items():
            need(name in required or name in optional, f"unknown field {name!r}")
            need((required.get(name) or optional[name])(inner), f"field {name} has a bad value")
        return True
    return check


def parse_json(raw):
    def unique(pairs):
        need(len(dict(pairs)) == len(pairs), "a field is repeated")
        return dict(pairs)

    def constant(name):
        raise Refused(f"{name} is not JSON")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
        return value
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from None


# ---- 3: records ----
LOCK_MODE = among("governance", "compliance")
POSITION = shaped(file=is_text, position=is_int)
CONNECTION = shaped(to=among("store", "kms", "signer", "database", "source"),
                    security=among("local", "tls-verified", "tls-unverified", "plain", "unknown"),
                    tls_opt=shaped(version=is_text, cipher=is_text))
IDENTITY = shaped(host_opt=is_text, user_opt=is_text, pod_opt=is_text, namespace_opt=is_text, principal_opt=is_text,
                  access_opt=among("local", "static", "web-identity", "pod-identity", "instance", "unknown"))
ENVELOPE = shaped(payloadType=is_text, payload=is_bytes, signatures=list_of(shaped(keyid=is_text, sig=is_bytes)))
CONNECTIONS = list_of(CONNECTION)
MARKED = shaped(backup_opt=shaped(backup_id=is_name, manifest_sha256=is_digest, attempt=is_id, dek_id=is_id),
                run_opt=shaped(run_id=is_id))
RECORDS = {
    "run": shaped(version=is_int, run_id=is_id, cluster_uuid=is_id, role=among("backup", "archive", "rewrap", "prune", "copy", "read", "drill"), public_key=is_digest,
                  dek_id_opt=is_id, started_at=is_instant, identity=IDENTITY,
                  lock_opt=shaped(mode=LOCK_MODE, data_seconds=is_int, key_seconds=is_int, evidence_seconds=is_int, legal_hold_opt=is_bool),
                  tool_version=is_text),
    "cluster": shaped(version=is_int, cluster_uuid=is_id, run_id=is_id, created_at=is_instant),
    "key": shaped(version=is_int, cluster_uuid=is_id, dek_id=is_id, run_id=is_id, generation=is_int,
                  created_at=is_instant, commitment=is_digest,
                  wraps=list_of(shaped(kek=is_text, kek_version_opt=is_text, algorithm=is_text, ciphertext=is_bytes))),
    "manifest": shaped(
        version=is_int, backup_id=is_name, attempt=is_id, cluster_uuid=is_id, run_id=is_id, dek_id=is_id,
        started_at=is_instant, finished_at=is_instant,
        engine=shaped(kind=among("xtrabackup", "mariadb-backup", "clone"), version_opt=is_text, to_lsn_opt=is_int),
        base_opt=shaped(backup_id=is_name, manifest_sha256=is_digest, from_lsn=is_int),
        source=shaped(kind=among("local", "stdin", "https"), **{f"{x}_transport": among(
            "local", "tls-verified", "tls-unverified", "plain", "unknown") for x in ("database", "stream")}),
        server_opt=shaped(
            flavor=among("mysql", "mariadb"), version=is_text, server_uuid_opt=is_text, server_id=is_u32,
            position_opt=POSITION, innodb_position_opt=POSITION, innodb_at_least_opt=POSITION, gtid_set_opt=is_text, gtid_exact_opt=is_bool, up_since_opt=is_instant,
            is_replica_opt=is_bool, lower_case_table_names_opt=is_u8, page_size=is_u32, data_bytes=is_int,
            options_opt=texts),
        proof=among("exit", "verdict", "framing"), files=is_int, bytes_read=is_int, payload_bytes=is_int,
        bytes_stored=is_int, tool_version=is_text, connections_opt=CONNECTIONS,
        lock_opt=shaped(mode=LOCK_MODE, until=is_instant, legal_hold_opt=is_bool),
        volumes=list_of(shaped(sequence=is_int, bytes=is_int, sha256=is_digest, chunks=is_int, plain_bytes=is_int))),
    "audit": shaped(version=is_int, cluster_uuid=is_id, number=is_int, previous=is_digest, run_id=is_id, at=is_instant,
                    action=is_text, subject=is_text, record_sha256_opt=is_digest, outcome_opt=among("success", "failure"),
                    failure_opt=shaped(exit_code=is_u8, kind=is_text, error=is_text), configuration_opt=is_digest,
                    connections_opt=CONNECTIONS,
                    details_opt=lambda v: isinstance(v, dict)),
    "mark": shaped(version=is_int, cluster_uuid=is_id, number=is_u32, run_id=is_id, at=is_instant, reason=is_text,
                   kind=among("hold", "unhold", "tombstone", "revoke", "sweep"), subject=lambda v: MARKED(v) and len(v) == 1),
    "horizon": shaped(version=is_int, cluster_uuid=is_id, number=is_int, run_id=is_id, at=is_instant, begins=is_int, thinned=is_int),
    "drill": shaped(
        version=is_int, drill_id=is_name, cluster_uuid=is_id, run_id=is_id, started_at=is_instant, finished_at=is_instant,
        status=among("proven", "unproven", "failed"), target=is_text, seed_opt=is_int, tool_version=is_text,
        failures_opt=list_of(among("restore", "damaged-backup", "too-slow", "tables", "assertions")),
        recovery_opt=shaped(backup_id=is_name, manifest_sha256=is_digest, gtid_set_opt=is_text, stored_bytes=is_int,
                            payload_bytes=is_int, log_bytes=is_int, transactions=is_int, extract_ms=is_int,
                            prepare_ms=is_int, replay_ms=is_int, start_ms=is_int, total_ms=is_int),
        tables_opt=shaped(whole=is_int, damaged=is_int, unchecked=is_int, check_ms=is_int),
        assertions_opt=shaped(file_sha256=is_digest, outcomes=list_of(among("holds", "false", "error")), ask_ms=is_int)),
}
RESTORE = shaped(backup_id_opt=is_name, datadir_opt=is_text, status_opt=is_text, expected_opt=is_text, actual_opt=is_text,
                 equal_opt=is_bool, transactions_opt=is_int)
VERIFY = shaped(mode=is_text, status_opt=is_text, backups_opt=is_int, findings_opt=is_int, audit_head_opt=is_text,
                log_head_opt=is_text, fresh_opt=is_bool)
FIND = shaped(table=is_bool, kind_opt=is_text, since_opt=is_instant, until_opt=is_instant, matches_opt=is_int)
ARCHIVE = shaped(epoch=is_int, record=is_int, reason_opt=is_text, transactions_opt=is_int)
PRUNE = shaped(objects_removed=is_int, bytes_removed=is_int, objects_locked=is_int)
REWRAP = shaped(**{"from": is_text}, drop_opt=list_of(is_text), rewrapped_opt=is_int, dropped_opt=is_int, left_opt=is_int)
DETAILS = {  # 3.5: of an action that is not here any object will do
    "backup-begun": shaped(engine=is_text, source=is_text), "configuration-seen": shaped(settings=texts),
    "report-made": shaped(format=is_text, holds=list_of(is_text), fails=list_of(is_text), not_shown=list_of(is_text)),
    "rewrap-begun": REWRAP, "rewrap-ended": REWRAP, "prune-ended": PRUNE, "archive-gap": ARCHIVE, "archive-fork": ARCHIVE,
} | {f"{job}-{end}": shape for job, shape in (("archive", ARCHIVE), ("restore", RESTORE), ("plan", RESTORE),
                                               ("verify", VERIFY), ("find", FIND), ("drill", RESTORE)) for end in ("begun", "ended", "failed")}


MARKS = {("free", "hold"): "held", ("tombstoned", "hold"): "held", ("held", "unhold"): "free",
         ("free", "tombstone"): "tombstoned", ("tombstoned", "sweep"): "swept",
         ("tombstoned", "revoke"): "free", ("swept", "revoke"): "free"}


def check_act(record):
    """3.5: what a record says of an act, beyond the fields' own shapes."""
    need(("failure" in record) == (record.get("outcome") == "failure"), "a failure says why, and nothing else does")
    if "details" in record and record["action"] in DETAILS:
        DETAILS[record["action"]](record["details"])


def signed_by(key, kind, payload, signature):
    pae = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, pae)
        return True
    except (InvalidSignature, ValueError):
        return False


class Repository:
    def __init__(self, folder, cluster, trust):
        need(NAME(cluster), f"{cluster!r} is no cluster name")
        self.root, self.runs = pathlib.Path(folder) / cluster, {}
        document = parse_json(pathlib.Path(trust).read_bytes())
        shaped(backstay_trust=lambda v: is_int(v) and v == 1,
               signers=list_of(shaped(id=is_text, algorithm=among("ed25519"), public=is_key, roles_opt=list_of(is_text))),
               clusters_opt=lambda v: isinstance(v, dict) and all(is_name(k) and is_id(x) for k, x in v.items()))(document)
        need(document["signers"], "the trust file names no signer")
        self.signers = [(s["id"], unbase64(s["public"])) for s in document["signers"]]
        self.roles = {s["id"]: s.get("roles") for s in document["signers"]}
        need(len(self.roles) == len(self.signers), "the trust file names a signer twice")
        self.uuid = self.believe("cluster", "cluster.json")["cluster_uuid"]
        need(document.get("clusters", {}).get(cluster, self.uuid) == self.uuid, f"{cluster} is not the cluster that the trust file pins")

    def believe(self, kind, name, run_id=None, raw=None):
        """Read one record by the four steps of section 3; from `raw`, when its envelope was read already."""
        try:
            if raw is None:
                path = self.root / name
                need(path.is_file(), "it is missing")
                need(path.stat().st_size <= 16 << 20, "it is larger than 16 MiB")
                raw = path.read_bytes()
            envelope = parse_json(raw)
            ENVELOPE(envelope)
            fields = {k: envelope[k] for k in ("payloadType", "payload", "signatures")}
            fields["signatures"] = [{k: s[k] for k in ("keyid", "sig")} for s in envelope["signatures"]]
            spelled = json.dumps(fields, separators=(",", ":"), ensure_ascii=False) + "\n"
            need(raw == spelled.encode(), "its envelope is not spelled as section 3 says")
            need(envelope["payloadType"] == f"application/vnd.backstay.{kind}+json", "it is a record of another type")
            need(len(envelope["signatures"]) == 1, "it has not exactly one signature")
            payload, signature = unbase64(envelope["payload"]), unbase64(envelope["signatures"][0]["sig"])
            if kind == "run":
                keys = self.signers
            else:
                record = parse_json(payload)
                need(isinstance(record, dict) and is_id(record.get("run_id")), "it names no run")
                run = self.run(record["run_id"])
                keys = [(record["run_id"], bytes.fromhex(run["public_key"]))]
            signers = [i for i, key in keys if signed_by(key, envelope["payloadType"], payload, signature)]
            need(signers, "nobody who is trusted signed it")
            need(envelope["signatures"][0]["keyid"] in signers, "its keyid names another key than signed it")
            record = parse_json(payload)
            need(isinstance(record, dict) and is_int(record.get("version")), "it has no version")
            need(record["version"] <= 1, f"it has version {record['version']}, newer than this program reads")
            need(record["version"] == 1, "version 0 does not exist")
            RECORDS[kind](record)
            if kind == "run":
                need(record["run_id"] == run_id, "it is the record of another run")
                need(("dek_id" in record) == (record["role"] in ("backup", "archive")), "a run seals with a DEK, or has none")
                roles = self.roles[envelope["signatures"][0]["keyid"]]
                need(roles is None or record["role"] in roles, "its signer may not vouch for a run of its role")
            else:
                need(run["role"] not in ("read", "prune", "copy", "drill") or kind in ("audit", "mark", "horizon", "drill"),
                     "its run may not write such a record")
                need(kind != "mark" or run["role"] == "prune", "its run may not write marks")
                need(kind != "drill" or run["role"] == "drill", "its run may not write drill records")
                need(kind != "horizon" or run["role"] in ("prune", "copy"), "its run may not write horizons")
                if kind == "audit":
                    check_act(record)
                expected = {run["cluster_uuid"]} | ({self.uuid} if kind != "cluster" else set())
                need(expected == {record["cluster_uuid"]}, "it belongs to another cluster")
            return record
        except Refused as error:
            raise Refused(f"{name}: {error}" if not str(error).startswith("runs/") else str(error)) from None

    def run(self, run_id):
        if run_id not in self.runs:
            self.runs[run_id] = self.believe("run", f"runs/{run_id}.json", run_id)
        return self.runs[run_id]

    def backups(self):
        folder = self.root / "backups"
        names = os.listdir(folder) if folder.is_dir() else []
        there = (n for n in names if NAME(n) and (folder / n / "manifest.json").is_file())
        return sorted(n for n in there if "swept" not in self.standings("backups", n).values())

    def standings(self, kind, name):
        """3.6: what the marks under the name of a backup or a run come to, for each subject."""
        folder, standings = f"marks/{kind}/{name}", {}
        names = sorted(os.listdir(self.root / folder)) if (self.root / folder).is_dir() else []
        for file in (n for n in names if re.fullmatch(r"[0-9]{8}\.json", n) and n != "00000000.json"):
            try:
                mark = self.believe("mark", f"{folder}/{file}")
                own = mark["subject"].get("backup", {}).get("backup_id") if kind == "backups" else \
                    mark["subject"].get("run", {}).get("run_id")
                need(own == name and mark["number"] == int(file[:8]), f"{folder}/{file}: it belongs elsewhere")
            except Refused as error:
                print("passed over:", error, file=sys.stderr)
                continue
            subject = json.dumps(mark["subject"], sort_keys=True)
            was = standings.get(subject, "free")
            standings[subject] = MARKS.get((was, mark["kind"]), was)
        return standings

    def horizon(self):
        """3.7: begins and thinned of the horizon that counts, and whether a newer one waits for its checkpoint."""
        folder, pending = self.root / "horizons", False
        names = sorted(os.listdir(folder), reverse=True) if folder.is_dir() else []
        for name in (n for n in names if re.fullmatch("[0-9]{20}", n) and int(n)):
            try:
                record = self.believe("horizon", f"horizons/{name}")
                begins, thinned = record["begins"], record["thinned"]
                need(record["number"] == int(name) and begins % 1024 == thinned % 1024 == 0 and begins < thinned,
                     f"horizons/{name}: it contradicts itself or its name")
            except Refused as error:
                print("passed over:", error, file=sys.stderr)
                continue
            if (self.root / f"log/{thinned:020}").is_file():
                return begins, thinned, pending
            pending = True
        return 0, 0, pending

    def manifest(self, backup):
        need(NAME(backup), f"{backup!r} is no backup id")
        m = self.believe("manifest", f"backups/{backup}/manifest.json")
        run, volumes = self.run(m["run_id"]), m["volumes"]
        need(m["backup_id"] == backup, f"{backup}: this is the manifest of {m['backup_id']}")
        need(m["dek_id"] == run.get("dek_id") and run["role"] == "backup", f"{backup}: the manifest contradicts its run")
        need(volumes and [v["sequence"] for v in volumes] == list(range(len(volumes))), f"{backup}: it has no volumes, or holes")
        for total, part in ("bytes_read", "plain_bytes"), ("bytes_stored", "bytes"):
            summed = sum(v[part] for v in volumes)
            need(summed < 1 << 64 and summed == m[total], f"{backup}: {total} is not the sum over its volumes")
        return m

    def bases(self, manifest):
        """3.4: what an increment stands on, nearest first."""
        chain = []
        while base := (chain[-1] if chain else manifest).get("base"):
            above, name = chain[-1] if chain else manifest, base["backup_id"]
            need(len(chain) < 1000, f"{above['backup_id']}: its chain leads in circles")
            found = self.manifest(name)
            raw = (self.root / "backups" / name / "manifest.json").read_bytes()
            need(hashlib.sha256(raw).hexdigest() == base["manifest_sha256"], f"{name}: not the manifest that {above['backup_id']} stands on")
            need(found["engine"]["kind"] == above["engine"]["kind"] and found["engine"].get("to_lsn") == base["from_lsn"],
                 f"{name}: {above['backup_id']} does not go on where it ends")
            chain.append(found)
        return chain

    def drills(self):
        folder = self.root / "drills"
        for name in sorted(os.listdir(folder) if folder.is_dir() else []):
            if NAME(name.removesuffix(".json")) and name.endswith(".json"):
                record = self.believe("drill", f"drills/{name}")
                need(record["drill_id"] == name.removesuffix(".json"), f"drills/{name}: it belongs elsewhere")
                need(self.run(record["run_id"])["role"] == "drill", f"drills/{name}: its run may not write it")
                yield record

    def audit_head(self):
        folder, previous, number = self.root / "audit", "0" * 64, 0
        names = sorted(n for n in (os.listdir(folder) if folder.is_dir() else []) if re.fullmatch("[0-9]{20}", n))
        for number, name in enumerate(names, 1):
            need(int(name) == number, f"audit/{number:020}: it is missing")
            record = self.believe("audit", f"audit/{name}")
            need(record["number"] == number, f"audit/{name}: it is number {record['number']}")
            need(record["previous"] == previous, f"audit/{name}: it does not follow the record before it")
            previous = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        return f"{number}:{previous}"

    def dek(self, dek_id, kek):
        """3.3 and 5: the key record, the wrap of our KEK, the commitment."""
        folder = self.root / "keys" / dek_id
        numbers = [int(n[:8]) for n in (os.listdir(folder) if folder.is_dir() else [])
                   if re.fullmatch(r"[0-9]{8}\.json", n) and n != "00000000.json"]

        def generation(number):
            name = f"keys/{dek_id}/{number:08}.json"
            record = self.believe("key", name)
            need(record["generation"] == number and record["dek_id"] == dek_id, f"{name}: it belongs elsewhere")
            return name, record
        name, first = newest = generation(1)
        for number in sorted(numbers, reverse=True):
            try:
                newest = generation(number)
                break
            except Refused as error:
                print("passed over:", error, file=sys.stderr)
        name, newest = newest
        run = self.run(first["run_id"])
        need(run.get("dek_id") == dek_id, f"keys/{dek_id}: generation 1 is not of the DEK's own run")
        need(first["commitment"] == newest["commitment"], f"{name}: it commits to another key than generation 1")
        wrap = next((w for w in newest["wraps"] if w["kek"] == kek.name), None)
        need(wrap, f"{name}: no wrap for {kek.name}, only for {', '.join(w['kek'] for w in newest['wraps'])}")
        context = f"backstay:cluster={self.uuid}\nbackstay:dek={dek_id}\nbackstay:purpose={run['role']}\n"
        dek = kek.unwrap(wrap, context.encode())
        commitment = hkdf(dek, bytes.fromhex(dek_id), b"backstay/1 dek commitment", 32)
        need(hmac.compare_digest(commitment.hex(), newest["commitment"]), f"{name}: this is not the DEK it commits to")
        return dek


# ---- 4 and 5: keys ----
def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk, info, length):
    out = block = b""
    for i in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out += block
    return out[:length]


def hkdf(ikm, salt, info, length):
    return expand(extract(salt, ikm), info, length)


def open_sealed(key, nonce, sealed, aad, what):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError):
        raise Refused(f"{what} fails authentication") from None


def hpke_key_and_nonce(private, enc, info):
    """RFC 9180, mode base: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; for sequence number 0."""
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"

    def labeled_extract(sid, salt, label, ikm): return extract(salt, b"HPKE-v1" + sid + label + ikm)
    def labeled_expand(sid, prk, label, text, n):
        return expand(prk, struct.pack(">H", n) + b"HPKE-v1" + sid + label + text, n)
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    prk = labeled_extract(kem, b"", b"eae_prk", shared)
    shared = labeled_expand(kem, prk, b"shared_secret", enc + private.public_key().public_bytes_raw(), 32)
    context = (b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info))
    secret = labeled_extract(suite, shared, b"secret", b"")
    return labeled_expand(suite, secret, b"key", context, 32), labeled_expand(suite, secret, b"base_nonce", context, 12)


class Kek:
    ALGORITHMS = {"symmetric": "aes256gcm-hkdf-sha256", "x25519": "hpke-x25519-hkdf-sha256-aes256gcm"}

    def __init__(self, path):
        key = parse_json(pathlib.Path(path).read_bytes())
        shaped(backstay_key=lambda v: is_int(v) and v == 1, id=is_text, created_at=is_instant, secret_opt=is_key,
               kind=among("symmetric", "x25519", "x25519-public", "ed25519-signer"), public_opt=is_key)(key)
        need("secret" not in key or not stat.S_IMODE(os.stat(path).st_mode) & 0o077, f"{path}: others may read it")
        need(key["kind"] in self.ALGORITHMS and "secret" in key, f"{path}: a {key['kind']} key unwraps nothing")
        need(("public" in key) == (key["kind"] == "x25519"), f"{path}: a {key['kind']} key has other fields")
        self.secret, self.algorithm = unbase64(key["secret"]), self.ALGORITHMS[key["kind"]]
        public = unbase64(key.get("public", key["secret"]))
        if key["kind"] == "x25519":
            self.private = X25519PrivateKey.from_private_bytes(self.secret)
            need(self.private.public_key().public_bytes_raw() == public, f"{path}: its halves do not fit")
        need(key["id"] == hashlib.sha256(b"backstay/1 key id" + public).hexdigest()[:32], f"{path}: its id is not its own")
        self.name = "file:" + key["id"]

    def unwrap(self, wrap, context):
        need(wrap["algorithm"] == self.algorithm, f"{self.name}: {wrap['algorithm']} is not for a KEK of this kind")
        text = unbase64(wrap["ciphertext"])
        need(len(text) == 80, f"{self.name}: a wrap of {len(text)} bytes")
        try:
            if self.algorithm.startswith("hpke"):
                key, nonce = hpke_key_and_nonce(self.private, text[:32], b"backstay/1 wrap")
            else:
                key, nonce = hkdf(self.secret, text[:32], b"backstay/1 wrap", 32), bytes(12)
        except ValueError as error:  # an all-zero X25519 result
            raise Refused(f"{self.name}: {error}") from None
        return open_sealed(key, nonce, text[32:], context, f"{self.name}: the wrapped DEK")


def open_azure_wrap(algorithm, key, ciphertext, context):
    """5.2: a wrap by Azure Key Vault, for whoever has its key elsewhere, too: an RSA private key, or 32 bytes."""
    what = f"the DEK wrapped by {algorithm}"
    if algorithm == "azure-kv-a256gcm":
        need(len(ciphertext) == 60, f"{what}: {len(ciphertext)} bytes")
        return open_sealed(key, ciphertext[:12], ciphertext[12:], context, what)
    need(algorithm == "azure-kv-rsa-oaep-256" and len(ciphertext) >= 256 + 48, f"{what}: {len(ciphertext)} bytes")
    wrapped, sealed = ciphertext[:-48], ciphertext[-48:]
    try:
        between = key.decrypt(wrapped, OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None))
    except ValueError:
        raise Refused(f"{what}: RSA-OAEP does not open it") from None
    need(len(between) == 32, f"{what}: a key of {len(between)} bytes")
    return open_sealed(hkdf(between, wrapped, b"backstay/1 wrap", 32), bytes(12), sealed, context, what)


# ---- 6: sealed objects ----
def frame_length(frame, what):
    """Bytes of the Zstandard frame that stands first (RFC 8878, section 3.1.1): its head and its blocks are gone through."""
    need(frame[:4] == b"\x28\xb5\x2f\xfd" and len(frame) > 4, f"{what} is no Zstandard frame")
    flags = frame[4]
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    at = 6 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    last = False
    while not last:
        need(at + 3 <= len(frame), f"{what} is cut")
        block = int.from_bytes(frame[at:at + 3], "little")
        last, kind = block & 1, block >> 1 & 3
        need(kind < 3, f"{what}: a block of a type that there is not")
        at += 3 + (1 if kind == 1 else block >> 3)
    need(at + 4 * checksum <= len(frame), f"{what} is cut")
    return at + 4 * checksum


def unpad(frame, padded, what):
    """Behind the frame: nothing, or in the last chunk of a tail one skippable frame of zeros."""
    length = frame_length(frame, what)
    frame, rest = frame[:length], frame[length:]
    if padded:
        need(len(rest) >= 8 and rest[:4] == b"\x50\x2a\x4d\x18" and int.from_bytes(rest[4:8], "little") == len(rest) - 8
             and not any(rest[8:]), f"{what}: its padding is not as it has to be")
    else:
        need(not rest, f"{what}: something follows its frame")
    return frame


def inflate(frame, size, what):
    """One Zstandard frame of exactly `size` bytes and nothing else; nothing larger is ever allocated."""
    try:
        parameters = zstandard.get_frame_parameters(frame)
        need(parameters.dict_id == 0 and parameters.content_size == size, f"{what}: its frame has another size")
        if size:
            plain = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
            need(len(plain) == size, f"{what} inflates to another size")
            return plain
        inflater = zstandard.ZstdDecompressor().decompressobj()  # the call above looks no further when the size is 0
        for i in range(len(frame)):
            need(not inflater.eof and inflater.decompress(frame[i:i + 1]) == b"", f"{what}: more than one empty frame")
        need(inflater.eof, f"{what} is cut")
        return b""
    except zstandard.ZstdError as error:
        raise Refused(f"{what} does not inflate: {error}") from None


VOLUME, TAIL, SEGMENT = 1, 2, 3


def open_object(file, size, run, kind, described, dek, what):
    """Yield the plaintext of each chunk once it has passed every check; the SHA-256 is compared at the very end.

    `run` has the ids that must stand in the header, `described` what a signed record says of the object.
    """
    need(size == described["bytes"], f"{what}: it has {size} bytes, its record says {described['bytes']}")
    need(size >= 140 + 17 + 24 + 24, f"{what}: too short for a sealed object")
    sha = hashlib.sha256()

    def take(n):
        got = file.read(n)
        need(len(got) == n, f"{what}: cut while it was read")
        sha.update(got)
        return got
    header = take(108)
    (magic, version, suite, compression, chunk_size, cluster, its_run, its_kind, reserved, sequence, dek_id, salt
     ) = struct.unpack(">8sHBBI16s16sHHQ16s32s", header)
    need(magic == b"BACKSTAY", f"{what}: not a sealed object")
    need(version <= 1, f"{what}: version {version} is newer than this program reads")
    need((version, suite, reserved) == (1, 1, 0) and compression in (1, 2) and its_kind in (VOLUME, TAIL, SEGMENT),
         f"{what}: its header is damaged")
    need(1024 <= chunk_size <= 16 << 20, f"{what}: its chunk size is out of bounds")
    padded = kind == TAIL
    need((cluster.hex(), its_run.hex(), dek_id.hex(), its_kind, sequence, compression) ==
         (*(run[k] for k in ("cluster_uuid", "run_id", "dek_id")), kind, described["sequence"], 1 + padded),
         f"{what}: it belongs elsewhere")
    keys = hkdf(dek, salt, b"backstay/1" + hashlib.sha256(header).digest(), 96)
    need(hmac.compare_digest(take(32), keys[64:]), f"{what}: sealed with another key, or its header was changed")
    file.seek(size - 24)
    trailer = file.read(24)
    need(len(trailer) == 24 and trailer[16:] == b"YATSKCAB", f"{what}: no trailer; it may be cut")
    body, index_length, chunks = struct.unpack(">QII", trailer[:16])
    need(1 <= chunks <= 65536 and index_length == 8 * chunks + 16 and 140 + body + index_length + 24 == size,
         f"{what}: its trailer does not fit; it may be cut")
    file.seek(140 + body)
    index = file.read(index_length)
    entries = open_sealed(keys[32:64], bytes(12), index, struct.pack(">QI", body, chunks), f"{what}: index")
    need(len(entries) == 8 * chunks, f"{what}: its index has another length")
    lengths = list(struct.iter_unpack(">II", entries))
    need(sum(stored for stored, _ in lengths) == body, f"{what}: its index does not add up to the body")
    for i, (stored, plain) in enumerate(lengths):
        need(plain == chunk_size if i < chunks - 1 else (chunks > 1) <= plain <= chunk_size or plain == 0 == i,
             f"{what}: chunk {i} has a length out of bounds")
        most = chunk_size + chunk_size // 128 + 1024 + (chunk_size if padded and i == chunks - 1 else 0)
        need(16 < stored <= most, f"{what}: chunk {i} is stored out of bounds")
    need((chunks, sum(p for _, p in lengths)) == (described["chunks"], described["plain_bytes"]),
         f"{what}: its record says other chunks or bytes")
    file.seek(140)
    for i, (stored, plain) in enumerate(lengths):
        nonce = bytes(7) + struct.pack(">IB", i, i == chunks - 1)
        frame = open_sealed(keys[:32], nonce, take(stored), None, f"{what}: chunk {i}")
        frame = unpad(frame, padded and i == chunks - 1, f"{what}: chunk {i}")
        yield inflate(frame, plain, f"{what}: chunk {i}")
    need(take(index_length) == index and take(24) == trailer, f"{what}: changed while it was read")
    need(sha.hexdigest() == described["sha256"], f"{what}: its SHA-256 is not the one that was signed: the run did not write this")


def open_backup(repository, manifest, dek):
    """7: the plaintexts of all volumes, one after another."""
    for number, volume in enumerate(manifest["volumes"]):
        name = f"backups/{manifest['backup_id']}/{manifest['attempt']}/vol-{number:05}"
        path = repository.root / name
        need(path.is_file(), f"{name}: it is missing")
        with path.open("rb") as file:
            yield from open_object(file, os.fstat(file.fileno()).st_size, manifest, VOLUME, volume, dek, name)


# ---- 8: the plaintext, an xbstream ----
class Extractor:
    def __init__(self, pieces, folder, manifest):
        self.pieces, self.buffer, self.at = pieces, memoryview(b""), 0
        self.folder, self.engine = os.fsencode(folder), manifest["engine"]["kind"]
        self.open, self.done = {}, set()  # path → offset of the next byte; complete files
        self.length = {}

    def some(self, most):
        """Up to `most` bytes; none at the end of the stream."""
        while not self.buffer:
            piece = next(self.pieces, None)
            if piece is None:
                return b""
            self.buffer = memoryview(piece)
        got, self.buffer = self.buffer[:most], self.buffer[most:]
        self.at += len(got)
        return got

    def parts(self, n):
        while n:
            part = self.some(min(n, 1 << 20))
            need(part, f"the stream is cut at byte {self.at}")
            n -= len(part)
            yield part

    def fields(self, layout):
        return struct.unpack(layout, b"".join(self.parts(struct.calcsize(layout))))

    def path(self, length):
        need(1 <= length <= 512, f"a path of {length} bytes before byte {self.at}")
        path = b"".join(self.parts(length)).removeprefix(b"./")
        need(not any(b < 32 or b == 127 for b in path) and not set(path.split(b"/")) & {b"", b".", b".."},
             f"refusing the path {path!r}")
        return path

    def target(self, path):
        """Where it lies on disk; `folder` was empty and a stream makes no links, so nothing leads out of it."""
        full = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        return full

    def begin(self, path, replace):
        if path in self.open:
            need(not replace, f"{path!r} is replaced before it is complete")
            return
        need(path not in self.done or replace, f"{path!r} goes on after its end")
        self.done.discard(path)
        self.open[path] = self.length[path] = 0
        open(self.target(path), "wb").close()

    def write(self, path, runs, checksum, crc):
        """Write the payload at each (offset, length) in `runs`, and check it."""
        with open(self.target(path), "r+b") as file:
            for offset, length in runs:
                need(offset + length < 1 << 63, f"{path!r} is too long")
                file.seek(offset)
                for part in self.parts(length):
                    crc = zlib.crc32(part, crc)
                    file.write(part)
                self.reach(path, offset + length)
        need(crc == checksum, f"{path!r}: a checksum is wrong")

    def reach(self, path, offset):
        self.open[path], self.length[path] = offset, max(self.length[path], offset)

    def chunk(self, first):
        magic = bytes(first) + b"".join(self.parts(8 - len(first)))
        need(magic == b"XBSTCK01", f"no chunk begins before byte {self.at}")
        flags, kind, length = self.fields("<BcI")
        path, maria, percona = self.path(length), self.engine == "mariadb-backup", self.engine == "xtrabackup"
        known = kind in b"PE" or kind in b"SRD" and maria or kind == b"S" and percona or kind == b"F" and self.engine == "clone"
        need(flags == 0 or maria and flags == 2 and kind in b"PS" or flags == 1 and not known,
             f"{path!r}: a chunk of type {kind!r} with flags {flags:#x}")
        need(known or flags == 1, f"{path!r}: a chunk of unknown type {kind!r}")
        if not known:
            size, _, checksum = self.fields("<QQI")
            crc = 0
            for part in self.parts(size):
                crc = zlib.crc32(part, crc)
            need(crc == checksum, f"{path!r}: a checksum is wrong")
        elif kind == b"P":
            self.begin(path, flags == 2)
            size, offset, checksum = self.fields("<QQI")
            need(offset == self.open[path], f"{path!r}: a piece at {offset}, expected at {self.open[path]}")
            self.write(path, [(offset, size)], checksum, 0)
        elif kind == b"S" and maria:
            self.begin(path, flags == 2)
            offset, = self.fields("<Q")
            self.reach(path, offset)
        elif kind == b"S":
            self.begin(path, False)
            entries, size, offset, checksum = self.fields("<IQQI")
            need(offset == self.open[path], f"{path!r}: a piece at {offset}, expected at {self.open[path]}")
            need(entries <= 1 << 20, f"{path!r}: a sparse map of {entries} entries")
            sparse, runs = b"".join(self.parts(8 * entries)), []
            for skip, count in struct.iter_unpack("<II", sparse):
                runs.append((offset + skip, count))
                offset += skip + count
            need(sum(count for _, count in runs) == size, f"{path!r}: its sparse map does not add up")
            self.write(path, runs, checksum, zlib.crc32(sparse))
        elif kind == b"E":
            self.begin(path, False)
            os.truncate(self.target(path), self.length[path])
            del self.open[path]
            self.done.add(path)
        elif kind == b"F":
            need(self.fields("<I")[0] == zlib.crc32(path), f"{path!r}: a checksum is wrong")
            os.makedirs(self.target(path), exist_ok=True)
        else:
            new = self.path(self.fields("<I")[0]) if kind == b"R" else None
            need(path not in self.open and new not in self.open, f"{path!r} is renamed or removed before its end")
            if path in self.done:
                self.done.discard(path)
                size = self.length.pop(path)
                if new is None:
                    os.remove(self.target(path))
                else:
                    os.replace(self.target(path), self.target(new))
                    self.done.add(new)
                    self.length[new] = size

    def run(self):
        while first := self.some(8):
            self.chunk(first)
        need(not self.open, f"the stream ends, and {next(iter(self.open), None)!r} is not complete")
        either = "xtrabackup_{}", "mariadb_backup_{}"
        last = {"clone": [["backstay_clone_info"]],
                "mariadb-backup": [[e.format(x) for e in either] for x in ("checkpoints", "info")] + [["ib_logfile0"]],
                "xtrabackup": [[f"xtrabackup_{x}"] for x in ("checkpoints", "info", "logfile")]}[self.engine]
        for names in last:
            need(any(self.length.get(n.encode()) for n in names), f"the engine did not finish: {names[0]} is missing")
        if self.engine == "xtrabackup":
            info = pathlib.Path(os.fsdecode(self.target(b"xtrabackup_info"))).read_bytes()
            need(re.search(rb"^tool_version = 2\.", info, re.M) or self.length.get(b"xtrabackup_tablespaces"),
                 "the engine did not finish: xtrabackup_tablespaces is missing")


# ---- the program ----
def write_stream(repository, manifest, dek, out):
    partial = pathlib.Path(f"{out}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for plain in open_backup(repository, manifest, dek):
                file.write(plain)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)


def extract_files(repository, manifest, dek, folder):
    need(not os.path.lexists(folder) or os.path.isdir(folder) and not os.listdir(folder), f"{folder}: it is not empty")
    partial = pathlib.Path(f"{os.path.normpath(folder)}.partial")
    partial.mkdir(mode=0o700)
    try:
        extractor = Extractor(open_backup(repository, manifest, dek), partial, manifest)
        extractor.run()
        need(len(extractor.done) == manifest["files"], "the manifest says another number of files")
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def list_backups(repository):
    """Every backup, then the audit chain; what is refused does not hide the rest."""
    good = True
    for backup in repository.backups():
        try:
            m = repository.manifest(backup)
            repository.bases(m)
            print(backup, m["finished_at"], m["engine"]["kind"], m["bytes_read"], "bytes, proof", m["proof"])
        except Refused as error:
            good = print("refused:", error, file=sys.stderr)
    for drill in repository.drills():
        print("drill", drill["drill_id"], drill["status"], drill["target"])
    print("audit head", repository.audit_head())
    need(good, "some backups are refused")


def main():
    parser = argparse.ArgumentParser(description="Read a Backstay repository without Backstay.")
    for name in "--repo", "--cluster", "--trust":
        parser.add_argument(name, required=True)
    parser.add_argument("--kek", help="key file; not needed for --list")
    parser.add_argument("--backup", help="which one, when there are several")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="list the backups, verify the audit chain")
    action.add_argument("--stream", metavar="OUT", help="write the xbstream to this file")
    action.add_argument("--extract", metavar="DIR", help="extract its files into this folder, new or empty")
    o = parser.parse_args()
    if not o.list and not o.kek:
        parser.error("--kek is needed")
    try:
        repository = Repository(o.repo, o.cluster, o.trust)
        if o.list:
            return list_backups(repository)
        backups = [o.backup] if o.backup else repository.backups()
        need(len(backups) == 1, f"name one with --backup: {', '.join(backups) or 'there is none'}")
        manifest = repository.manifest(backups[0])
        need("swept" not in repository.standings("backups", backups[0]).values(), f"{backups[0]}: it is being removed")
        dek = repository.dek(manifest["dek_id"], Kek(o.kek))
        (write_stream if o.stream else extract_files)(repository, manifest, dek, o.stream or o.extract)
    except (Refused, OSError) as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    main()
