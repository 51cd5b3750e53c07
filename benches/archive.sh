#!/usr/bin/env bash
# The archiver beside a real MySQL and a real S3 server: from commit to durable under a steady load,
# catching up, memory and CPU, requests and bytes a day. Tables in Markdown on standard output.
#
#   benches/archive.sh [SECONDS]     60 a load unless said
#
# BACKSTAY_TOOLS          folder with bin/minio and mysql9       [.tools]
# BACKSTAY_BENCH_SCRATCH  the server's and the store's files     [/dev/shm/backstay-archive]
# BACKSTAY_BIN            the program                            [target/release/backstay]
set -euo pipefail
cd "$(dirname "$0")/.."

SECONDS_EACH=${1:-60}
TOOLS=${BACKSTAY_TOOLS:-$PWD/.tools}
SCRATCH=${BACKSTAY_BENCH_SCRATCH:-/dev/shm/backstay-archive}
BACKSTAY=${BACKSTAY_BIN:-$PWD/target/release/backstay}
PORT=${BENCH_PORT:-19741}
MYSQLD=$TOOLS/mysql9/bin/mysqld
S=$SCRATCH/s

say() { echo "$*" >&2; }

for program in sysbench "$MYSQLD" "$TOOLS/bin/minio" "$BACKSTAY"; do
    command -v "$program" > /dev/null || { say "$program is missing"; exit 1; }
done

PIDS=()
stop() {
    for pid in "${PIDS[@]}"; do kill "$pid" 2> /dev/null || true; done
    [ ! -f "$SCRATCH/mysqld.pid" ] || kill "$(cat "$SCRATCH/mysqld.pid")" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$SCRATCH"
}
trap stop EXIT
rm -rf "$SCRATCH"
mkdir -p "$SCRATCH/minio/archive"

say 'a server, a store, keys'
"$MYSQLD" --no-defaults --initialize-insecure --user=root --datadir="$SCRATCH/data" > "$SCRATCH/init.log" 2>&1
"$MYSQLD" --no-defaults --user=root --datadir="$SCRATCH/data" --socket="$S" --skip-networking --mysqlx=OFF \
    --log-bin=binlog --server-id=41 --gtid-mode=ON --enforce-gtid-consistency=ON --pid-file="$SCRATCH/mysqld.pid" \
    --innodb-buffer-pool-size=256M --innodb-flush-log-at-trx-commit=1 --sync-binlog=1 > "$SCRATCH/mysqld.log" 2>&1 &
MINIO_ROOT_USER=benchbench MINIO_ROOT_PASSWORD=bench-secret-bench MINIO_BROWSER=off MINIO_UPDATE=off HOME=$SCRATCH \
    "$TOOLS/bin/minio" server --quiet --address "127.0.0.1:$PORT" "$SCRATCH/minio" > "$SCRATCH/minio.log" 2>&1 &
PIDS+=($!)
for _ in $(seq 200); do
    [ -S "$S" ] && "$TOOLS/mysql9/bin/mysql" -uroot -S"$S" -e 'SELECT 1' > /dev/null 2>&1 && break
    sleep 0.2
done
sql() { "$TOOLS/mysql9/bin/mysql" -uroot -S"$S" -N -e "$1"; }

export AWS_ACCESS_KEY_ID=benchbench AWS_SECRET_ACCESS_KEY=bench-secret-bench AWS_REGION=us-east-1
unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN
export BACKSTAY_REPO=s3://archive/b BACKSTAY_STORE_ENDPOINT=http://127.0.0.1:$PORT BACKSTAY_CLUSTER=bench
export BACKSTAY_KEK=file:$SCRATCH/kek BACKSTAY_MYSQL_SOCKET=$S BACKSTAY_MYSQL_USER=root
"$BACKSTAY" keys new > /dev/null

sql 'CREATE DATABASE sbtest; CREATE DATABASE big'
sysbench_() { sysbench "$@" --db-driver=mysql --mysql-socket="$S" --mysql-user=root --tables=4 --table-size=10000; }
sysbench_ oltp_update_index prepare > /dev/null

begin() { # NAME: starts the archiver
    "$BACKSTAY" archive > "$SCRATCH/$1.out" 2> "$SCRATCH/$1.err" &
    ARCHIVER=$!
    # Until it follows.
    for _ in $(seq 300); do grep -q '"to":"\(idle\|following\)"' "$SCRATCH/$1.err" && return; sleep 0.2; done
    say "the archiver does not follow:"; cat "$SCRATCH/$1.err" >&2; exit 1
}
ticks() { awk '{ print $14 + $15 }' "/proc/$ARCHIVER/stat"; }
peak() { awk '/VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$ARCHIVER/status"; }
end() { kill "$ARCHIVER" 2> /dev/null || true; wait "$ARCHIVER" || true; }
objects() { find "$SCRATCH/minio/archive" -name xl.meta | wc -l; }
bytes() { du -sb "$SCRATCH/minio/archive" | cut -f1; }
binlog() { sql 'SHOW BINARY LOGS' | awk '{ sum += $2 } END { print sum }'; }
field() { grep 'from commit to durable' "$1" | tail -1 | sed -E "s/.*\"$2\":([0-9.]+).*/\1/"; }

row() { # NAME FILE SECONDS CPU PEAK BINLOG OBJECTS BYTES
    awk -v name="$1" -v p50="$(field "$2" p50_seconds)" -v p99="$(field "$2" p99_seconds)" -v max="$(field "$2" max_seconds)" \
        -v n="$(field "$2" transactions)" -v s="$3" -v cpu="$4" -v peak="$5" -v bin="$6" -v o="$7" -v b="$8" 'BEGIN {
        day = 86400 / s
        printf "| %s | %.2f | %d | %s | %s | %s | %.1f | %s | %d | %.2f |\n", name, bin / s / 1e6, n / s, p50, p99, max, cpu / s, peak, o * day, b * day / 1e9
    }'
}

measure() { # NAME COMMAND…: a load, and what the archiver makes of it
    local name=$1 file=$SCRATCH/load-$((++LOADS)).err
    shift
    begin "load-$LOADS"
    local t o b l began=$SECONDS cpu peak
    t=$(ticks) o=$(objects) b=$(bytes) l=$(binlog)
    say "$name"
    "$@"
    local took=$((SECONDS - began))
    # What is still on its way belongs to this load.
    sleep 3
    cpu=$(($(ticks) - t)) peak=$(peak)
    l=$(($(binlog) - l)) o=$(($(objects) - o)) b=$(($(bytes) - b))
    # It tells of its latencies when it ends.
    end
    row "$name" "$file" "$took" "$cpu" "$peak" "$l" "$o" "$b"
}
LOADS=0

idle() { sleep "$SECONDS_EACH"; }
tps() { sysbench_ oltp_update_index --threads=4 --rate="$1" --time="$SECONDS_EACH" run > "$SCRATCH/sysbench.log"; }
# Rows of random bytes at about this many megabytes a second.
stream() {
    sql 'CREATE TABLE IF NOT EXISTS big.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BLOB); TRUNCATE big.t'
    local until=$((SECONDS + SECONDS_EACH)) next
    while [ $SECONDS -lt $until ]; do
        next=$(date +%s%N)
        for _ in $(seq "$1"); do
            echo "INSERT INTO big.t (v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT RANDOM_BYTES(1000) FROM n;"
        done | "$TOOLS/mysql9/bin/mysql" -uroot -S"$S"
        left=$((1000000000 - ($(date +%s%N) - next)))
        [ $left -le 0 ] || sleep "0.$(printf %09d $left)"
    done
    sql 'TRUNCATE big.t'
}
giant() {
    sql 'CREATE TABLE IF NOT EXISTS big.g (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BLOB)'
    { echo 'BEGIN;'
      echo "INSERT INTO big.g (v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT RANDOM_BYTES(1000) FROM n;"
      for _ in $(seq 999); do echo 'INSERT INTO big.g (v) SELECT RANDOM_BYTES(1000) FROM big.g LIMIT 1000;'; done
      echo 'COMMIT;'; } | "$TOOLS/mysql9/bin/mysql" -uroot -S"$S" --max-allowed-packet=64M
    # All of it is read and stored by then.
    sleep 30
}

echo '| load | binlog MB/s | transactions/s | p50 s | p99 s | max s | CPU % of a core | peak MiB | requests that write a day | GB stored a day |'
echo '|---|---|---|---|---|---|---|---|---|---|'
measure 'idle' idle
measure '2,000 transactions/s' tps 2000
measure '1 MB/s' stream 1
measure '20 MB/s' stream 20
measure 'one transaction of 1 GB' giant

say 'an outage, and catching up'
sql 'TRUNCATE big.g'
stream 20
sql 'FLUSH BINARY LOGS'
start=$(date +%s.%N)
/usr/bin/env time -f '%M' -o "$SCRATCH/peak" "$BACKSTAY" archive --until-current --format json > "$SCRATCH/catch.json" 2> "$SCRATCH/catch.err"
finish=$(date +%s.%N)
read_=$(sed -n 's/.*"bytes_read": \([0-9]*\).*/\1/p' "$SCRATCH/catch.json")
echo
awk -v b="$read_" -v s="$start" -v f="$finish" -v m="$(cat "$SCRATCH/peak")" 'BEGIN {
    printf "Catching up: %.0f MB in %.1f s, %.0f MB/s, start and end of the process included; peak %.1f MiB.\n", b / 1e6, f - s, b / 1e6 / (f - s), m / 1024 }'
