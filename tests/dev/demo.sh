#!/usr/bin/env bash
# usage: demo.sh BACKSTAY
#
# Backs up a live MariaDB server under load, restores it, and compares; archives its binary logs, drops
# a table, finds the drop, and restores to just before it. Everything happens in a folder of its own, on sockets in it, and is gone afterwards.
set -euo pipefail
: "${PROJECT:?run ./dev demo}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

BACKSTAY=$(readlink -f -- "${1:?usage: demo.sh BACKSTAY}")
ROWS=400000
WRITERS=2
# Stands in a column of every row: it must be in the data folder, and nowhere in the repository.
MARKER=card-4000-0012-3456-7899

# Settings of whoever runs this must not lead the demo elsewhere.
for name in $(compgen -e BACKSTAY_ || true); do unset "$name"; done

# A socket's path may not be long, so not $TMPDIR.
D=$(mktemp -d /tmp/backstay-demo.XXXXXX)
PIDS=()
clean_up() {
  local pid
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf -- "$D"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

step() {
  if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}
# Runs backstay. On a terminal its progress is shown; elsewhere its log is kept for a failure.
run() {
  printf '$ backstay %s\n' "$*"
  local call=("$BACKSTAY" --repo "file://$D/repository" --cluster demo --kek "file:$D/keys/kek" "$@")
  if [ -t 2 ]; then
    "${call[@]}"
  else
    "${call[@]}" 2>"$D/log" || { tail -n 40 -- "$D/log" >&2 && die "backstay $1 failed"; }
  fi
}
sql() { # socket statements
  mariadb --no-defaults --socket="$1" --batch --skip-column-names -e "$2"
}

start_server() { # name datadir; its socket is $D/name.sock
  mariadbd --no-defaults --user="$(id -un)" --datadir="$2" --socket="$D/$1.sock" --skip-networking \
    --pid-file="$D/$1.pid" --log-error="$D/$1.err" --server-id=1 --log-bin=binlog \
    --binlog-format=ROW --sync-binlog=1 --innodb-buffer-pool-size=128M >"$D/$1.out" 2>&1 &
  PIDS+=("$!")
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    sql "$D/$1.sock" 'SELECT 1' >/dev/null 2>&1 && return
    kill -0 "${PIDS[-1]}" 2>/dev/null || break
    sleep 0.2
  done
  cat -- "$D/$1.out" "$D/$1.err" >&2 || true
  die "the $1 server did not start"
}

# Commits small transactions without a pause. Each writes three rows and, in the same
# transaction, brings the ledger's running sums up to date. Runs in a process of its own, which
# becomes the client: when that is ended, the endless script behind it ends too.
write_load() { # writer
  exec mariadb --no-defaults --socket="$D/source.sock" >/dev/null 2>&1 \
    < <(while :; do printf 'CALL shop.sell(%s);\n' "$1"; done)
}

# How many transactions each writer has made, as text: `1:2041 2:2037`.
ledger() { sql "$1" "SELECT CONCAT(writer, ':', sales) FROM shop.ledger ORDER BY writer" | paste -sd' '; }

# The sums of the rows themselves, for each writer up to the given transaction.
sums() { # socket writer last-transaction
  sql "$1" "SELECT COUNT(*), SUM(amount), BIT_XOR(CRC32(CONCAT_WS('|', sale, line, amount, note)))
            FROM shop.sold WHERE writer = $2 AND sale <= $3"
}

# Compares the sales in a restored server with the source's, up to the last one that it has; that has
# to be one that was made between the two ledgers.
compare_sales() { # socket ledger-before ledger-after
  local writer last amount crc want have said first final
  for ((writer = 1; writer <= WRITERS; writer++)); do
    # The restored ledger says which transaction was the last; the source still has all of them.
    read -r last amount crc < <(sql "$1" "SELECT sales, amount, crc FROM shop.ledger WHERE writer = $writer")
    want=$(sums "$SOURCE" "$writer" "$last")
    have=$(sums "$1" "$writer" 2147483647)
    said=$(printf '%s\t%s\t%s' "$((last * 3))" "$amount" "$crc")
    echo "shop.sold, writer $writer, up to transaction $last: $want at the source, $have restored"
    [ "$want" = "$have" ] || die "shop.sold of writer $writer differs from the source at transaction $last"
    [ "$said" = "$have" ] || die "the rows of writer $writer do not add up to its ledger"
    first=$(tr ' ' '\n' <<<"$2" | sed -n "s/^$writer://p")
    final=$(tr ' ' '\n' <<<"$3" | sed -n "s/^$writer://p")
    ((first <= last && last <= final)) ||
      die "transaction $last is not one that was made meanwhile ($first to $final)"
  done
}

no_plaintext() {
  local found
  found=$(grep -rlaE -- "$MARKER|old_orders|person-" "$D/repository" | wc -l || true)
  [ "$found" -eq 0 ] || die 'there is plaintext in the repository'
}

started=$SECONDS
step '1. A MariaDB server with data, and with writers that never stop'
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$D/source" --skip-test-db \
  --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)" >"$D/install.log" 2>&1 ||
  { cat -- "$D/install.log" >&2 && die 'the server could not be initialised'; }
start_server source "$D/source"
SOURCE=$D/source.sock
(umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$D/password")
{
  printf "CREATE USER backup@localhost IDENTIFIED BY '%s';\n" "$(cat -- "$D/password")"
  cat <<SQL
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE ON *.* TO backup@localhost;
CREATE DATABASE shop;
USE shop;
CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(40), card VARCHAR(40), bio VARCHAR(200));
INSERT INTO people SELECT seq, CONCAT('person-', seq), '$MARKER',
  CONCAT(SHA2(seq, 256), REPEAT(CONCAT(' ', seq), 8)) FROM seq_1_to_$ROWS;
CREATE TABLE old_orders (id INT PRIMARY KEY, total DECIMAL(10, 2)) ENGINE = Aria;
INSERT INTO old_orders SELECT seq, seq / 7 FROM seq_1_to_20000;
CREATE TABLE sold (writer INT, sale INT, line INT, amount BIGINT, note VARCHAR(80),
  PRIMARY KEY (writer, sale, line));
CREATE TABLE ledger (writer INT PRIMARY KEY, sales INT, amount BIGINT, crc BIGINT UNSIGNED);
INSERT INTO ledger SELECT seq, 0, 0, 0 FROM seq_1_to_$WRITERS;
DELIMITER //
CREATE PROCEDURE sell(w INT)
BEGIN
  DECLARE s INT;
  START TRANSACTION;
  SELECT sales + 1 INTO s FROM ledger WHERE writer = w FOR UPDATE;
  INSERT INTO sold SELECT w, s, seq, FLOOR(RAND() * 1000000), MD5(RAND()) FROM seq_1_to_3;
  UPDATE ledger SET sales = s,
    amount = amount + (SELECT SUM(l.amount) FROM sold l WHERE l.writer = w AND l.sale = s),
    crc = crc ^ (SELECT BIT_XOR(CRC32(CONCAT_WS('|', l.sale, l.line, l.amount, l.note)))
                 FROM sold l WHERE l.writer = w AND l.sale = s)
  WHERE writer = w;
  COMMIT;
END //
SQL
} | mariadb --no-defaults --socket="$SOURCE"
for ((writer = 1; writer <= WRITERS; writer++)); do
  write_load "$writer" &
  PIDS+=("$!")
done
version=$(sql "$SOURCE" 'SELECT VERSION()')
sleep 2
echo "MariaDB $version, $(du -sh -- "$D/source" | cut -f1) on disk, $ROWS people, $WRITERS writers"

step '2. Keys'
mkdir -m 700 -- "$D/keys"
run keys new

step '3. Would a backup and a restore work from here?'
login=(--mysql-socket "$SOURCE" --mysql-user backup --mysql-password-file "$D/password")
# It ends the demo when anything fails. Of the rest, what is well is only counted.
(run doctor "${login[@]}" --datadir "$D/restored") >"$D/doctor" || { cat -- "$D/doctor" >&2 && exit 1; }
grep -Ev '^(ok|not-checked) ' -- "$D/doctor"

step '4. A backup while the writers go on'
before=$(ledger "$SOURCE")
run backup "${login[@]}"
after=$(ledger "$SOURCE")
echo "transactions by writer: before the backup $before, after it $after"

step '5. What is stored, and is it whole?'
run list
run verify
in_data=$(grep -rlaF -- "$MARKER" "$D/source" | wc -l)
[ "$in_data" -gt 0 ] || die 'the marker is not even in the data folder: this test tests nothing'
no_plaintext
echo "The text $MARKER is in $in_data files of the data folder and in none of the repository."

step '6. A restore into an empty folder'
run restore --datadir "$D/restored"

step '7. The restored server answers. Is it the same?'
start_server restored "$D/restored"
RESTORED=$D/restored.sock
for table in people old_orders; do
  want=$(sql "$SOURCE" "CHECKSUM TABLE shop.$table" | cut -f2)
  have=$(sql "$RESTORED" "CHECKSUM TABLE shop.$table" | cut -f2)
  echo "shop.$table: checksum $want at the source, $have restored"
  [ "$want" -gt 0 ] || die "shop.$table has no checksum"
  [ "$want" = "$have" ] || die "shop.$table differs"
done
compare_sales "$RESTORED" "$before" "$after"

step '8. The binary logs are archived, a second behind; and somebody drops a table'
"$BACKSTAY" --repo "file://$D/repository" --cluster demo --kek "file:$D/keys/kek" archive "${login[@]}" 2>"$D/archiver.log" >"$D/archiver.out" &
ARCHIVER=$!
PIDS+=("$ARCHIVER")
sleep 3
kill -0 "$ARCHIVER" || { cat -- "$D/archiver.log" >&2 && die 'the archiver ended'; }
want=$(sql "$SOURCE" 'CHECKSUM TABLE shop.people' | cut -f2)
before=$(ledger "$SOURCE")
sql "$SOURCE" 'DROP TABLE shop.people'
after=$(ledger "$SOURCE")
sleep 3
run window

step '9. What was it, and when?'
no_plaintext
run find --table shop.people
gtid=$("$BACKSTAY" --repo "file://$D/repository" --cluster demo --kek "file:$D/keys/kek" --format json \
  find --table shop.people --kind drop 2>/dev/null | sed -n 's/^ *"gtid": "\([0-9-]*\)".*/\1/p' | head -n 1)
[ -n "$gtid" ] || die 'the drop was not found'

step '10. A restore to the instant before'
run restore --before-gtid "$gtid" --datadir "$D/rescued"
start_server rescued "$D/rescued"
have=$(sql "$D/rescued.sock" 'CHECKSUM TABLE shop.people' | cut -f2)
echo "shop.people: checksum $want before it was dropped, $have restored"
[ "$want" = "$have" ] || die 'shop.people differs'
compare_sales "$D/rescued.sock" "$before" "$after"
kill "$ARCHIVER"
wait "$ARCHIVER" || true

cat <<TEXT

Backed up:  MariaDB $version under load, $(du -sh -- "$D/source" | cut -f1) of data, $(du -sh -- "$D/repository" | cut -f1) stored
Where:      file://$D/repository (removed now; s3://, gs:// and az:// work the same way)
Encrypted:  yes, AES-256-GCM under a key that only $D/keys/kek opens; no plaintext was found
Restored:   all checksums are equal to the source's at the recorded position
Rescued:    the dropped table, with all that was committed before $gtid and nothing behind it
Took:       $((SECONDS - started)) s
TEXT
