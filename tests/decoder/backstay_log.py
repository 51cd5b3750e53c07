#!/usr/bin/env python3
"""Read the archived binary logs of a Backstay repository without Backstay: written from docs/format.md alone.

Needs what backstay_decode.py needs, and that file beside it. Section numbers are those of docs/format.md.
Exit status: 0 good, 1 refused, 2 usage.

    backstay_log.py --repo DIR --cluster NAME --trust FILE --check              every record from the first on
    backstay_log.py --repo DIR --cluster NAME --trust FILE --tip                from the last checkpoint on
    backstay_log.py --repo DIR --cluster NAME --trust FILE --kek FILE --files DIR   put the binlog files together again
"""
import argparse, datetime, hashlib, io, os, pathlib, re, struct, sys

import backstay_decode as decoder
from backstay_decode import (CONNECTIONS, POSITION, Refused, among, is_bool, is_digest, is_id, is_instant, is_int, is_name,
                             is_text, is_u32, list_of, need, shaped)

EVERY = 1024
ZEROS = "0" * 64


def instant(text):
    """1: compared as instants. Seconds and nanoseconds since the epoch."""
    found = re.fullmatch(r"(.{16}):(\d\d)(?:\.(\d+))?(.+)", text)
    minute, second, fraction, offset = found.groups()
    at = datetime.datetime.fromisoformat(minute.upper() + (offset.upper().replace("Z", "+00:00")))
    return int(at.timestamp()) + min(int(second), 59), int((fraction or "0").ljust(9, "0"))


# ---- 9.2: GTID states ----
class Gtids:
    """MySQL: source → disjoint intervals in order. MariaDB: domain → (last server, server → last number)."""

    def __init__(self, text=""):
        self.mysql, self.maria = {}, {}
        for part in filter(None, text.split(",")):
            if ":" in text:
                uuid, *fields = part.lower().split(":")
                need(re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid) and fields, f"{part!r} is no GTID set")
                source = uuid
                for n, field in enumerate(fields):
                    if re.fullmatch("[a-z_][a-z0-9_]{0,31}", field) and n + 1 < len(fields):
                        source = f"{uuid}:{field}"
                        continue
                    found = re.fullmatch("([0-9]{1,20})(?:-([0-9]{1,20}))?", field)
                    need(found, f"{part!r} is no GTID set")
                    first, last = int(found[1]), int(found[2] or found[1])
                    need(1 <= first <= last < 1 << 64, f"{part!r} is no GTID set")
                    self.add(source, first, last)
            else:
                found = re.fullmatch("([0-9]+)-([0-9]+)-([0-9]+)", part)
                need(found, f"{part!r} is no GTID state")
                domain, server, number = map(int, found.groups())
                need(max(domain, server) < 1 << 32 and number < 1 << 64, f"{part!r} is no GTID state")
                servers = self.maria.get(domain, (0, {}))[1]
                self.maria[domain] = server, servers | {server: max(number, servers.get(server, 0))}

    def add(self, source, first, last):
        joined = []
        for a, b in sorted(self.mysql.get(source, []) + [(first, last)]):
            if joined and a <= joined[-1][1] + 1:
                joined[-1] = joined[-1][0], max(b, joined[-1][1])
            else:
                joined.append((a, b))
        self.mysql[source] = joined

    def __eq__(self, other):
        return (self.mysql, self.maria) == (other.mysql, other.maria)

    def __bool__(self):
        return bool(self.mysql or self.maria)

    def within(self, other):
        return (all(any(a <= first and last <= b for a, b in other.mysql.get(source, []))
                    for source, intervals in self.mysql.items() for first, last in intervals)
                and all(number <= other.maria.get(domain, (0, {}))[1].get(server, 0)
                        for domain, (_, servers) in self.maria.items() for server, number in servers.items()))

    def merged(self, later):
        out = Gtids()
        for state in self, later:
            for source, intervals in state.mysql.items():
                for first, last in intervals:
                    out.add(source, first, last)
            for domain, (last, servers) in state.maria.items():
                known = out.maria.get(domain, (0, {}))[1]
                out.maria[domain] = last, known | {s: max(n, known.get(s, 0)) for s, n in servers.items()}
        return out


def is_state(value):
    try:
        return is_text(value) and (Gtids(value) or True)
    except Refused:
        return False


# ---- 9.1, 9.3, 9.4, 9.7: what may stand in a record ----
def is_runs(value):
    return isinstance(value, list) and all(isinstance(r, list) and len(r) == 2 and all(map(is_int, r)) for r in value)


OPENING = shaped(previous=is_state, outline=is_digest)
GROUP = shaped(begin=is_int, end=is_int, outline=is_digest)
RANGE = shaped(server=is_name, file=is_name, created=is_instant, start=is_int, end=is_int, transactions=is_int, gtids=is_state,
               committed_opt=shaped(first=is_instant, last=is_instant), last_group_opt=GROUP, cut_opt=is_bool,
               opening_opt=OPENING, closed_opt=is_bool)
SEALED = shaped(sequence=is_int, bytes=is_int, sha256=is_digest, chunks=is_u32)
DATA = shaped(object_opt=shaped(id=is_id, sealed=SEALED), tails_opt=is_runs)
BRANCH = shaped(history=is_id, at=is_state)
SERVER = shaped(name=is_name, flavor=among("mysql", "mariadb"), version=lambda v: is_text(v) and re.match(r"\d+\.\d+", v),
                server_id=is_u32)
OPEN = shaped(server=is_name, file=is_name, created=is_instant, segmented=is_int, durable=is_int, closed=is_bool,
              boundary=is_int, opening=OPENING, last_group_opt=GROUP, tails=is_runs)
ENTRIES = {
    "epoch": dict(reason=among("first", "released", "silence", "takeover", "renewal", "server"), server=SERVER,
                  history=is_id, parent_opt=BRANCH, resumes_opt=POSITION, connections_opt=CONNECTIONS),
    "tail": dict(range=RANGE, sealed=SEALED),
    "segment": dict(range=RANGE, data=lambda v: DATA(v) and len(v) == 1),
    "gap": dict(server=is_name, file=is_name, missing=is_text, transactions=is_int, after_opt=is_instant, resumes_at=is_state),
    "fork": dict(left=is_name, taken=is_name, forked=is_text, transactions=is_int, frontier=is_state),
    "heartbeat": dict(server=is_name, position_opt=POSITION, quiet_until_opt=is_instant, released_opt=is_bool),
    "checkpoint": dict(previous_checkpoint=is_digest, epoch_record=is_int, frontier=is_state, committed_until_opt=is_instant,
                       quiet_until_opt=is_instant, notes=list_of(is_int), files=list_of(OPEN),
                       segments=list_of(shaped(number=is_int, first_record=is_int, range=RANGE, bytes=is_int))),
}


def is_entry(value):
    need(isinstance(value, dict) and is_text(value.get("kind")) and value["kind"] in ENTRIES, "it has no kind that there is")
    return shaped(kind=is_text, **ENTRIES[value["kind"]])(value)


decoder.RECORDS["log"] = shaped(version=is_int, cluster_uuid=is_id, number=is_int, previous=is_digest, run_id=is_id,
                                epoch=is_int, at=is_instant, entry=is_entry)


def plain(value, key=None):
    """A value such that two are equal when docs/format.md says so: no defaults, instants and states as what they are."""
    if isinstance(value, dict):
        return {k: plain(v, k) for k, v in value.items() if not (v is False and k in ("cut", "closed"))}
    if isinstance(value, list):
        return [plain(v, key) for v in value]
    if key in ("created", "first", "last", "committed_until", "quiet_until"):
        return instant(value)
    if key in ("gtids", "previous", "frontier"):
        state = Gtids(value)
        return state.mysql, state.maria
    return value


def runs(numbers):
    out = []
    for number in numbers:
        if out and out[-1][1] + 1 == number:
            out[-1][1] = number
        else:
            out.append([number, number])
    return out


def file_of(thing):
    return thing["server"], thing["file"], instant(thing["created"])


def is_of(r, file):
    """Whether a range goes on with a file of the list; what begins again where all is in segments is another copy."""
    again = r["start"] == 0 and 0 < file["durable"] == file["segmented"]
    return file_of(r) == file_of(file) and not again


# ---- 9.6: the state ----
class State:
    def __init__(self):
        self.number, self.digest = 0, ZEROS
        self.epoch, self.epoch_record, self.run, self.server = 0, 0, None, None
        self.frontier, self.committed_until, self.quiet_until = Gtids(), None, None
        self.files, self.segments, self.notes = [], [], []
        self.last_checkpoint, self.released = ZEROS, False
        self.all_segments, self.all_notes = [], []

    def durable(self):
        return {"file": self.files[-1]["file"], "position": self.files[-1]["durable"]} if self.files else None

    def take(self, number, record, digest):
        entry = record["entry"]
        kind, epoch = entry["kind"], record["epoch"]
        need(number == self.number + 1 and record["previous"] == self.digest, "it does not follow the record before it")
        need((kind == "checkpoint") == (number % EVERY == 0), "checkpoints stand at multiples of 1,024 and nowhere else")
        if kind == "checkpoint":
            need(epoch == self.epoch, "it is a checkpoint of another epoch than the one in force")
        elif kind == "epoch":
            need(epoch == self.epoch + 1 or epoch < self.epoch, "its epoch cannot follow")
        else:
            need(epoch < self.epoch or epoch == self.epoch and record["run_id"] == self.run, "its run does not own its epoch")
        if epoch >= self.epoch:
            getattr(self, f"take_{kind}")(number, record, entry, digest)
        self.number, self.digest = number, digest

    def keep_files(self, wanted):
        self.files = [f for f in self.files if f["segmented"] != f["durable"] or wanted(f)]

    def note(self, number):
        self.notes.append(number)
        self.all_notes.append(number)

    def take_epoch(self, number, record, entry, _):
        if "resumes" in entry:
            need(entry["resumes"] == self.durable() and self.files[-1]["server"] == entry["server"]["name"],
                 "it resumes where nothing ended")
        else:
            self.keep_files(lambda f: False)
        self.epoch, self.epoch_record, self.run, self.server = record["epoch"], number, record["run_id"], entry["server"]["name"]
        if "parent" in entry:
            self.frontier = Gtids(entry["parent"]["at"])
        if "resumes" not in entry:
            self.quiet_until = None
        self.released = False
        self.note(number)

    def take_tail(self, number, record, entry, _):
        self.add(entry["range"])
        self.files[-1]["tails"].append((number, entry["range"], entry["sealed"]["bytes"]))

    def take_segment(self, number, record, entry, _):
        r, data = entry["range"], entry["data"]
        file = next((f for f in self.files if is_of(r, f)), None)
        durable = file["durable"] if file else 0
        last = file is None or file is self.files[-1]
        if r["end"] > durable:
            need(last, "it lengthens a file that is not the newest")
            self.add(r | {"start": durable})
        elif r.get("closed") and last and r["end"] == durable:
            file["closed"] = True
        file = next((f for f in self.files if file_of(f) == file_of(r)), None)
        need(file, "it is of a file that is not being read")
        need(r["start"] == file["segmented"] < r["end"], "it does not begin where the segments end")
        whole = [t for t in file["tails"] if t[1]["end"] <= r["end"]]
        if "tails" in data:
            need(whole and data["tails"] == runs([t[0] for t in whole]) and whole[0][1]["start"] == r["start"]
                 and whole[-1][1]["end"] == r["end"], "it promotes other tails than those of its range")
        size = sum(t[2] for t in whole) if "tails" in data else data["object"]["sealed"]["bytes"]
        file["tails"] = file["tails"][len(whole):]
        file["segmented"] = r["end"]
        first = whole[0][0] if whole else number
        summary = {"number": number, "first_record": first, "range": r, "bytes": size}
        self.segments.append(summary)
        self.all_segments.append(summary)
        self.keep_files(lambda f: f is self.files[-1])

    def take_gap(self, number, record, entry, _):
        self.frontier = self.frontier.merged(Gtids(entry["resumes_at"]))
        self.note(number)

    def take_fork(self, number, record, entry, _):
        frontier = Gtids(entry["frontier"])
        need(frontier.within(self.frontier), "its frontier has what was not archived")
        self.frontier = frontier
        self.note(number)

    def take_heartbeat(self, number, record, entry, _):
        if "quiet_until" in entry:
            need(entry.get("position") == self.durable(), "it tells of quiet at another place")
            self.quiet_until = entry["quiet_until"]
        self.released = entry.get("released", False)

    def summary(self):
        times = {"committed_until": self.committed_until, "quiet_until": self.quiet_until}
        files = []
        for f in self.files:
            names = "server", "file", "created", "segmented", "durable", "closed", "boundary", "opening", "last_group"
            files.append({k: f[k] for k in names if k in f} | {"tails": runs([t[0] for t in f["tails"]])})
        return {"kind": "checkpoint", "previous_checkpoint": self.last_checkpoint, "epoch_record": self.epoch_record,
                "segments": self.segments, "notes": self.notes, "files": files,
                **{k: v for k, v in times.items() if v is not None}}

    def take_checkpoint(self, number, record, entry, digest):
        need(self.epoch, "nobody owns the log")
        need(Gtids(entry["frontier"]) == self.frontier, "its frontier contradicts the records before it")
        said = {k: v for k, v in entry.items() if k != "frontier"}
        need(plain(said) == plain(self.summary()), "it contradicts the records before it")
        self.last_checkpoint, self.segments, self.notes = digest, [], []

    def add(self, r):
        need(r["start"] < r["end"], "its range is empty")
        need(r["server"] == self.server, "its server is not the epoch's")
        if self.files and is_of(r, self.files[-1]):
            need(not self.files[-1]["closed"] and r["start"] == self.files[-1]["durable"], "it does not begin where the file ends")
        else:
            need(r["start"] == 0 and "opening" in r, "its file does not begin at its beginning")
            previous = Gtids(r["opening"]["previous"])
            need(not self.frontier or previous.within(self.frontier), "transactions are missing before it")
            self.frontier = self.frontier.merged(previous)
            self.keep_files(lambda f: False)
            self.files.append({k: r[k] for k in ("server", "file", "created", "opening")} |
                              {"segmented": 0, "durable": 0, "closed": False, "boundary": 4, "tails": []})
        file = self.files[-1]
        self.frontier = self.frontier.merged(Gtids(r["gtids"]))
        self.quiet_until = None
        if "committed" in r:
            self.committed_until = max(filter(None, (self.committed_until, r["committed"]["last"])), key=instant)
        file["durable"], file["closed"] = r["end"], r.get("closed", False)
        if r["end"] < 1 << 32:
            file["boundary"] = r["end"]
        if "last_group" in r:
            file["last_group"] = r["last_group"]



# ---- 9.1, 9.8: reading it ----
class Log:
    def __init__(self, repository):
        self.repository, self.folder = repository, repository.root / "log"
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        self.begins, self.thinned, self.pending = repository.horizon()
        self.numbers = sorted(int(n) for n in names if re.fullmatch("[0-9]{20}", n))
        self.numbers = [n for n in self.numbers if n > self.begins]

    def read(self, number):
        """A record, the digest of its envelope, and what follows it."""
        name = f"log/{number:020}"
        path = self.repository.root / name
        need(path.is_file(), f"{name}: it is missing")
        need(path.stat().st_size <= 48 << 20, f"{name}: it is larger than 48 MiB")
        line, feed, body = path.read_bytes().partition(b"\n")
        need(feed and len(line) < 16 << 20, f"{name}: it has no envelope")
        record = self.repository.believe("log", name, raw=line + feed)
        need(record["number"] == number, f"{name}: it is record {record['number']}")
        need(self.repository.run(record["run_id"])["role"] == "archive", f"{name}: its run may not write the log")
        entry = record["entry"]
        need(len(body) == (entry["sealed"]["bytes"] if entry["kind"] == "tail" else 0),
             f"{name}: what follows its envelope has another length")
        return record, hashlib.sha256(line + feed).hexdigest(), body

    def go_on(self, state, whole=False):
        for number in self.numbers:
            if number <= state.number:
                continue
            if number != state.number + 1 and self.pending and not whole:
                break  # 9.11: a copy that was not finished
            need(number == state.number + 1, f"log/{state.number + 1:020}: it is missing, and {number} is there")
            record, digest, _ = self.read(number)
            try:
                state.take(number, record, digest)
            except Refused as error:
                raise Refused(f"log/{number:020}: {error}") from None
        return state

    def all(self):
        """Every record that is there: of a log that was pruned, all that its checkpoints name, and all behind the last of them."""
        if not self.thinned:
            return self.go_on(State(), whole=True)
        for number in range(self.begins + EVERY, self.thinned + 1, EVERY):
            entry = self.read(number)[0]["entry"]
            need(entry["kind"] == "checkpoint", f"log/{number:020}: it is no checkpoint")
            for summary in entry["segments"]:
                segment = self.read(summary["number"])[0]["entry"]
                name = f"log/{summary['number']:020}"
                need(segment["kind"] == "segment", f"{name}: it is no segment")
                need(plain(segment["range"]) == plain(summary["range"]), f"{name}: it has another range than its checkpoint says")
                for first, last in segment["data"].get("tails", []):
                    for tail in range(first, last + 1):
                        need(self.read(tail)[0]["entry"]["kind"] == "tail", f"log/{tail:020}: it is no tail")
            for note in entry["notes"]:
                need(self.read(note)[0]["entry"]["kind"] in ("epoch", "gap", "fork"), f"log/{note:020}: it is no note")
        return self.tip(whole=True)

    def checkpoints(self):
        """The numbers of all checkpoints that are there, without a hole: found by looking, not by listing."""
        if not self.numbers:
            return []
        if self.pending:
            return list(range(self.begins + EVERY, self.thinned + 1, EVERY))
        there = set(self.numbers)
        first = self.begins + EVERY if self.thinned else -(-self.numbers[0] // EVERY) * EVERY
        number = max(first, self.thinned)
        while number in there:
            number += EVERY
        return list(range(first, number, EVERY))

    def tip(self, whole=False):
        """From the last checkpoint on (or from the horizon's), with the segments of all checkpoints."""
        state, previous, segments, notes = State(), None, [], []
        for number in self.checkpoints():
            if whole and number > self.thinned:
                break
            last = number
            name = f"log/{number:020}"
            record, digest, _ = self.read(number)
            entry = record["entry"]
            need(entry["kind"] == "checkpoint", f"{name}: it is no checkpoint")
            need(previous in (None, entry["previous_checkpoint"]), f"{name}: it does not follow the checkpoint before it")
            previous = digest
            segments += entry["segments"]
            notes += entry["notes"]
        if previous:
            number, name = last, f"log/{last:020}"
            state.number, state.digest = number, digest
            claim, _, _ = self.read(entry["epoch_record"])
            need(claim["entry"]["kind"] == "epoch" and claim["epoch"] == record["epoch"] and claim["number"] < number,
                 f"{name}: it names another epoch record")
            state.epoch, state.epoch_record, state.run = claim["epoch"], claim["number"], claim["run_id"]
            state.server = claim["entry"]["server"]["name"]
            state.frontier, state.last_checkpoint = Gtids(entry["frontier"]), digest
            state.committed_until, state.quiet_until = entry.get("committed_until"), entry.get("quiet_until")
            for file in entry["files"]:
                tails, covered = [], file["segmented"]
                for first, last in file["tails"]:
                    for tail in range(first, last + 1):
                        record, _, _ = self.read(tail)
                        need(record["entry"]["kind"] == "tail", f"log/{tail:020}: it is no tail")
                        r = record["entry"]["range"]
                        need(file_of(r) == file_of(file) and r["start"] <= covered < r["end"],
                             f"{name}: tail {tail} does not go on where {file['file']} ends")
                        covered = r["end"]
                        tails.append((tail, r, record["entry"]["sealed"]["bytes"]))
                need(covered == file["durable"], f"{name}: the tails of {file['file']} end elsewhere than it says")
                state.files.append(file | {"tails": tails})
            state.all_segments, state.all_notes = segments, notes
        state = self.go_on(state, whole)
        need(state.number or not self.pending, "a copy of the log was not finished, and nothing of it can be read yet")
        return state

    # ---- 9.9: putting files together ----
    def open(self, number, kek, deks):
        """The bytes of a tail's or a segment's range."""
        record, _, body = self.read(number)
        entry, run = record["entry"], self.repository.run(record["run_id"])
        r = entry["range"]
        if "tails" in entry.get("data", {}):
            return b"".join(self.open(n, kek, deks) for first, last in entry["data"]["tails"] for n in range(first, last + 1))
        if run["dek_id"] not in deks:
            deks[run["dek_id"]] = self.repository.dek(run["dek_id"], kek)
        name = f"log/{number:020}"
        sealed = entry["sealed"] if entry["kind"] == "tail" else entry["data"]["object"]["sealed"]
        if entry["kind"] == "segment":
            name = f"segments/{r['server']}/{r['file']}/{r['start']:020}-{entry['data']['object']['id']}"
            path = self.repository.root / name
            need(path.is_file(), f"{name}: it is missing")
            need(path.stat().st_size == sealed["bytes"], f"{name}: it has another length than its record says")
            body = path.read_bytes()
        described = sealed | {"plain_bytes": r["end"] - r["start"]}
        kind = decoder.TAIL if entry["kind"] == "tail" else decoder.SEGMENT
        return b"".join(decoder.open_object(io.BytesIO(body), len(body), run, kind, described, deks[run["dek_id"]], name))

    def copies(self, state, kek):
        """Every copy of every file: (file, bytes, closed), in the order in which they begin."""
        deks, copies, newest = {}, [], {}
        segments = sorted(state.all_segments, key=lambda s: s["first_record"])
        ranges = [(s["number"], s["range"]) for s in segments]
        ranges += [(number, r) for file in state.files for number, r, _ in file["tails"]]
        for number, r in ranges:
            data, name = self.open(number, kek, deks), f"log/{number:020}"
            need(len(data) == r["end"] - r["start"], f"{name}: it holds another number of bytes")
            if r["start"] == 0 or self.begins and file_of(r) not in newest:
                newest[file_of(r)] = {"range": r, "bytes": bytearray(), "ranges": []}
                copies.append(newest[file_of(r)])
            copy = newest.get(file_of(r))
            lacking = copy["range"]["start"] if copy else 0  # 9.11: its beginning is forgotten
            need(copy and r["start"] - lacking <= len(copy["bytes"]), f"{name}: bytes are missing before it")
            shared = copy["bytes"][r["start"] - lacking:r["end"] - lacking]
            need(data.startswith(shared), f"{name}: it has other bytes than what was archived before")
            copy["bytes"] += data[len(shared):]
            copy["ranges"].append(r)
            copy["closed"] = r.get("closed", False)
        return copies


# ---- 9.5: outlines ----
NAMING = 16, 33, 34, 42, 162


def events(data, start, end):
    while start < end:
        need(start + 19 <= end, f"no event begins at {start}")
        length = struct.unpack_from("<I", data, start + 9)[0]
        need(19 <= length <= end - start, f"no event begins at {start}")
        yield data[start + 4], start, length
        start += length


def check_outlines(copy):
    """Hold the outlines that its ranges tell of against its bytes."""
    lacking = copy["range"]["start"]
    data, checked = bytes(lacking) + bytes(copy["bytes"]), 0
    need(lacking or data[:4] == b"\xfebin", "it is no binlog file")
    for r in copy["ranges"]:
        if "opening" in r and not lacking:
            sha = hashlib.sha256()
            for kind, at, length in events(data, 4, len(data)):
                sha.update(data[at:at + length - 4])
                if kind in (35, 163):
                    break
            need(sha.hexdigest() == r["opening"]["outline"], "the outline of its opening is another")
            checked += 1
        if "last_group" in r and r["last_group"]["begin"] >= lacking:
            group, sha = r["last_group"], hashlib.sha256()
            for kind, at, length in events(data, group["begin"], group["end"]):
                sha.update(data[at:at + (length - 4 if kind in NAMING else 19)])
            need(sha.hexdigest() == group["outline"], f"the outline of the group at {group['begin']} is another")
            checked += 1
    return checked


# ---- the program ----
def write_files(log, state, kek, folder):
    need(not os.path.lexists(folder), f"{folder}: it is there already")
    checked = 0
    for number, copy in enumerate(log.copies(state, kek)):
        r = copy["range"]
        path = pathlib.Path(folder) / f"{number:04}" / r["server"] / r["file"]
        path.parent.mkdir(parents=True)
        path.write_bytes(copy["bytes"])
        checked += check_outlines(copy)
        print(hashlib.sha256(copy["bytes"]).hexdigest(), r["server"], r["file"], len(copy["bytes"]),
              "closed" if copy["closed"] else "open")
    print("outlines checked:", checked)


def main():
    parser = argparse.ArgumentParser(description="Read archived binary logs without Backstay.")
    for name in "--repo", "--cluster", "--trust":
        parser.add_argument(name, required=True)
    parser.add_argument("--kek", help="key file; needed for --files")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="read the log from its first record on")
    action.add_argument("--tip", action="store_true", help="read the log from its last checkpoint on")
    action.add_argument("--files", metavar="DIR", help="put every copy of every binlog file into this new folder")
    o = parser.parse_args()
    if o.files and not o.kek:
        parser.error("--kek is needed")
    try:
        log = Log(decoder.Repository(o.repo, o.cluster, o.trust))
        state = log.tip() if o.tip else log.all()
        if o.files:
            write_files(log, state, decoder.Kek(o.kek), o.files)
        print("log head", f"{state.number}:{state.digest}")
        print("epoch", state.epoch, "segments", len(state.all_segments), "notes", len(state.all_notes))
        for durable in filter(None, [state.durable()]):
            print("durable", f"{durable['file']}:{durable['position']}")
    except (Refused, OSError) as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    main()
