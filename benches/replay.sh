#!/usr/bin/env bash
# Replays the same binary logs over the same base in turns: Backstay, and `mysqlbinlog | mysql` or
# `mariadb-binlog | mariadb`. Tables in Markdown on standard output; progress on standard error.
#
#   benches/replay.sh [ROUNDS]      3 rounds unless said
#
# The pipe is given every advantage: its logs lie on the local disk, its server runs already,
# its client does not send comments, durability is as relaxed as in Backstay's replay, and it writes no binary log. Backstay fetches, opens and
# decompresses, and its server's starts and ends count.
#
# BACKSTAY_TOOLS          folder with mysql9                     [.tools]
# BACKSTAY_BENCH_SCRATCH  the servers' files                     [/dev/shm/backstay-replay]
# BACKSTAY_BIN            the program                            [target/release/backstay]
# BENCH_FLAVORS           which flavors                          [mysql mariadb]
# BENCH_BURSTS            bursts of 50,000 sysbench transactions [5]
# BENCH_ROWS              rows in each of four tables            [100000]
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${1:-3}
FLAVORS=${BENCH_FLAVORS:-mysql mariadb}
BURSTS=${BENCH_BURSTS:-5}
ROWS=${BENCH_ROWS:-100000}
MYSQL=${BACKSTAY_TOOLS:-$PWD/.tools}/mysql9/bin
SCRATCH=${BACKSTAY_BENCH_SCRATCH:-/dev/shm/backstay-replay}
BACKSTAY=${BACKSTAY_BIN:-$PWD/target/release/backstay}
export PATH=$MYSQL:$PATH
RELAXED=(--innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=OFF)

say() { echo "$*" >&2; }

for program in sysbench mariadbd mariadb mariadb-backup mariadb-binlog "$MYSQL/mysqld" "$MYSQL/mysqlbinlog" "$BACKSTAY"; do
    command -v "$program" > /dev/null || { say "$program is missing"; exit 1; }
done

# server_start FOLDER [OPTION...]: a server of $FLAVOR on FOLDER/data; its socket is FOLDER/s.
server_start() {
    local folder=$1 tries=0 program
    shift
    program=mariadbd
    [ "$FLAVOR" = mariadb ] || program=$MYSQL/mysqld
    "$program" --no-defaults --user="$(id -un)" --datadir="$folder/data" --socket="$folder/s" \
        --pid-file="$folder/pid" --tmpdir="$folder" --skip-networking --innodb-buffer-pool-size=1G \
        --max-allowed-packet=64M "${RELAXED[@]}" "$@" > "$folder/server.log" 2>&1 &
    until [ -S "$folder/s" ] && client "$folder/s" -e 'SELECT 1' > /dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { say "the server did not start:"; tail -n 20 "$folder/server.log" >&2; exit 1; }
        sleep 0.2
    done
}
server_stop() {
    local pid
    [ -f "$1/pid" ] || return 0
    pid=$(cat "$1/pid")
    kill "$pid" 2> /dev/null || true
    while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
}
client() {
    local socket=$1
    shift
    if [ "$FLAVOR" = mysql ]; then "$MYSQL/mysql" --no-defaults -uroot -S"$socket" -N "$@"
    else mariadb --no-defaults -uroot -S"$socket" -N "$@"; fi
}
stop() {
    local code=$?
    [ $code = 0 ] || say "ended with $code"
    for folder in "$SCRATCH"/*/; do server_stop "$folder"; done
    rm -rf "$SCRATCH"
}
trap stop EXIT
rm -rf "$SCRATCH"

number() { sed -n 's/^.*"'"$2"'": *"\{0,1\}\([^",]*\).*/\1/p' "$1" | head -n 1; }
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'; }
sysbench_() {
    sysbench "$@" --db-driver=mysql --mysql-socket="$SOURCE/s" --mysql-user=root --tables=4 --table-size="$ROWS" \
        > "$SCRATCH/sysbench.log" || { cat "$SCRATCH/sysbench.log" >&2; exit 1; }
}
sums() {
    local socket=$1 tables
    tables=$(client "$socket" -e "SELECT GROUP_CONCAT('sbtest.', table_name ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'sbtest'")
    client "$socket" -e "CHECKSUM TABLE $tables"
}

# What a row's checksum cannot be confused by: no stored floats, no clock.
burst() { # NUMBER
    local n=$1
    sysbench_ oltp_write_only --threads=4 --events=50000 --time=0 --rand-seed="$((n + 1))" run
    {
        echo "ALTER TABLE sbtest.sbtest$((n % 4 + 1)) ADD COLUMN extra$n INT NOT NULL DEFAULT $n;"
        echo "CREATE INDEX extra$n ON sbtest.sbtest$((n % 4 + 1)) (extra$n);"
        for i in $(seq 1000); do
            echo "INSERT INTO sbtest.documents (doc) VALUES ('{\"n\": $n, \"i\": $i, \"tags\": [\"a\", \"b\"], \"text\": \"$(printf 'x%.0s' {1..200})\"}');"
        done
        echo "UPDATE sbtest.documents SET doc = JSON_SET(doc, '\$.seen', $n) WHERE id % 3 = 0;"
        for i in $(seq 200); do echo "INSERT INTO sbtest.files (bytes) VALUES (REPEAT('backstay$i', 5000));"; done
        echo 'FLUSH BINARY LOGS;'
    } | client "$SOURCE/s" --max-allowed-packet=64M
}

prepare() {
    SOURCE=$SCRATCH/source
    mkdir -p "$SOURCE"
    say "$FLAVOR: a server, keys, a base"
    if [ "$FLAVOR" = mysql ]; then
        "$MYSQL/mysqld" --no-defaults --initialize-insecure --user="$(id -un)" --datadir="$SOURCE/data" > "$SOURCE/init.log" 2>&1
        server_start "$SOURCE" --log-bin=binlog --server-id=41 --gtid-mode=ON --enforce-gtid-consistency=ON --mysqlx=OFF \
            --sync-binlog=0 --plugin-load-add=clone=mysql_clone.so
    else
        mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$SOURCE/data" \
            --auth-root-authentication-method=normal --skip-test-db > "$SOURCE/init.log"
        server_start "$SOURCE" --log-bin=binlog --server-id=41 --binlog-format=ROW --sync-binlog=0
    fi
    client "$SOURCE/s" -e 'CREATE DATABASE sbtest; CREATE TABLE sbtest.documents (id INT AUTO_INCREMENT PRIMARY KEY, doc JSON);
        CREATE TABLE sbtest.files (id INT AUTO_INCREMENT PRIMARY KEY, bytes LONGBLOB)'
    sysbench_ oltp_write_only --threads=4 prepare
    client "$SOURCE/s" -e 'FLUSH BINARY LOGS'
    export BACKSTAY_REPO=file://$SCRATCH/repo BACKSTAY_CLUSTER=bench BACKSTAY_KEK=file:$SCRATCH/kek
    export BACKSTAY_MYSQL_SOCKET=$SOURCE/s BACKSTAY_MYSQL_USER=root
    "$BACKSTAY" keys new > /dev/null
    "$BACKSTAY" backup --id base --format json > "$SCRATCH/base.json" 2> "$SCRATCH/base.log" || { cat "$SCRATCH/base.log" >&2; exit 1; }
    FIRST=$(number "$SCRATCH/base.json" binlog_file)
    AT=$(number "$SCRATCH/base.json" binlog_position)
    BASE=$(du -sb "$SOURCE/data" --exclude='binlog.*' | cut -f1)
    say "$FLAVOR: $BURSTS bursts of load"
    MARKS=()
    for n in $(seq 0 $((BURSTS - 1))); do
        burst "$n"
        if [ "$FLAVOR" = mysql ]; then MARKS+=("$(client "$SOURCE/s" --raw -e 'SELECT @@GLOBAL.gtid_executed' | tr -d '\n')")
        else MARKS+=("$(client "$SOURCE/s" -e 'SELECT @@GLOBAL.gtid_binlog_pos')"); fi
    done
    sums "$SOURCE/s" > "$SCRATCH/sums"
    "$BACKSTAY" archive --until-current > "$SCRATCH/archive.log" 2>&1 || { cat "$SCRATCH/archive.log" >&2; exit 1; }
    mkdir "$SCRATCH/logs"
    for log in $(client "$SOURCE/s" -e 'SHOW BINARY LOGS' | cut -f1); do
        [[ $log < $FIRST ]] || cp "$SOURCE/data/$log" "$SCRATCH/logs/"
    done
    BYTES=$(du -sb "$SCRATCH/logs" | cut -f1)
    TRANSACTIONS=
    server_stop "$SOURCE"
    rm -rf "$SOURCE"
}

same() { cmp -s "$SCRATCH/sums" "$1" || { say "$2: other checksums"; diff "$SCRATCH/sums" "$1" >&2; exit 1; }; }

by_pipe() {
    local P=$SCRATCH/pipe begun
    mkdir -p "$P"
    "$BACKSTAY" restore --backup base --datadir "$P/data" --owner "$(id -un)" > "$P/restore.log" 2>&1 || { cat "$P/restore.log" >&2; exit 1; }
    if [ "$FLAVOR" = mysql ]; then
        server_start "$P" --skip-log-bin --gtid-mode=ON --enforce-gtid-consistency=ON --mysqlx=OFF --event-scheduler=OFF
        begun=$EPOCHREALTIME
        "$MYSQL/mysqlbinlog" "$SCRATCH"/logs/* | client "$P/s" --skip-comments --commands --binary-mode --max-allowed-packet=64M
    else
        server_start "$P" --skip-log-bin --event-scheduler=OFF
        begun=$EPOCHREALTIME
        mariadb-binlog --start-position="$AT" "$SCRATCH"/logs/* | client "$P/s" --binary-mode --max-allowed-packet=64M
    fi
    TOOK=$(seconds_since "$begun")
    sums "$P/s" > "$SCRATCH/found"
    server_stop "$P"
    rm -rf "$P"
    same "$SCRATCH/found" 'the pipe'
}

# restore OUT [OPTION...]: leaves TOOK (the whole command), PEAK (KiB of Backstay), EXTRA (bytes of relay logs at most).
restore() {
    local out=$1 D=$SCRATCH/new/data begun child peak now
    shift
    mkdir -p "$SCRATCH/new"
    begun=$EPOCHREALTIME
    "$BACKSTAY" restore --format json --datadir "$D" --owner "$(id -un)" "$@" > "$out" 2> "$out.log" &
    child=$!
    PEAK=0 EXTRA=0
    while peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$child/status" 2> /dev/null) && [ -n "$peak" ]; do
        PEAK=$peak
        now=$({ find "$D" -name 'backstay-relay.0*' -printf '%s\n' 2> /dev/null || true; } | awk '{ s += $1 } END { print s + 0 }')
        [ "$now" -le "$EXTRA" ] || EXTRA=$now
        sleep 0.2
    done
    wait "$child" || { say "failed: restore $*"; cat "$out" "$out.log" >&2; exit 1; }
    TOOK=$(seconds_since "$begun")
}

by_backstay() {
    restore "$SCRATCH/out.json"
    local whole=$TOOK
    server_start "$SCRATCH/new" --skip-log-bin --event-scheduler=OFF
    sums "$SCRATCH/new/s" > "$SCRATCH/found"
    server_stop "$SCRATCH/new"
    rm -rf "$SCRATCH/new"
    same "$SCRATCH/found" Backstay
    WHOLE=$whole
    TOOK=$(number "$SCRATCH/out.json" replay_seconds)
    TRANSACTIONS=$(sed -n '/"replay": {/,/}/s/.*"transactions": \([0-9]*\).*/\1/p' "$SCRATCH/out.json" | head -n 1)
}

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
range() { sort -g | awk '{ v[NR] = $1 } END { printf "%.1f–%.1f", v[1], v[NR] }'; }

ROW=()
for FLAVOR in $FLAVORS; do
    mkdir -p "$SCRATCH"
    prepare
    : > "$SCRATCH/pipe.s"; : > "$SCRATCH/ours.s"; : > "$SCRATCH/ratio.s"
    top=0 disk=0
    for round in $(seq "$ROUNDS"); do
        by_backstay
        ours=$TOOK
        [ "$PEAK" -le "$top" ] || top=$PEAK
        [ "$EXTRA" -le "$disk" ] || disk=$EXTRA
        by_pipe
        echo "$ours" >> "$SCRATCH/ours.s"; echo "$TOOK" >> "$SCRATCH/pipe.s"
        awk -v a="$TOOK" -v b="$ours" 'BEGIN { printf "%.3f\n", a / b }' >> "$SCRATCH/ratio.s"
        say "  round $round: Backstay $ours s (the whole restore $WHOLE s), the pipe $TOOK s"
    done
    pipe='mysqlbinlog \| mysql'; [ "$FLAVOR" = mysql ] || pipe='mariadb-binlog \| mariadb'
    ROW+=("$(awk -v f="$FLAVOR" -v b="$BYTES" -v t="$TRANSACTIONS" -v o="$(median < "$SCRATCH/ours.s")" -v orange="$(range < "$SCRATCH/ours.s")" \
        -v p="$(median < "$SCRATCH/pipe.s")" -v pr="$(range < "$SCRATCH/pipe.s")" -v r="$(median < "$SCRATCH/ratio.s")" -v m="$top" -v d="$disk" -v name="$pipe" 'BEGIN {
        printf "| %s | %.0f MB, %d | %.1f s (%s) | %s, %.1f s (%s) | %.2f times as fast | ≥ 3 | %s | %.0f MiB | %.0f MiB |", f, b / 1e6, t, o, orange, name, p, pr, r, (r >= 3 ? "yes" : "no"), m / 1024, d / 1048576 }')")
    say "$FLAVOR: recovery time against the length of the log"
    for n in -1 $(seq 0 $((BURSTS - 1))); do
        if [ "$n" = -1 ]; then restore "$SCRATCH/out.json" --backup base
        else restore "$SCRATCH/out.json" --to-gtid "${MARKS[$n]}"; fi
        rm -rf "$SCRATCH/new"
        LONG+=("$(awk -v f="$FLAVOR" -v base="$BASE" -v b="$(sed -n '/"replay": {/,/}/s/.*"bytes": \([0-9]*\).*/\1/p' "$SCRATCH/out.json" | head -n 1)" \
            -v w="$TOOK" -v e="$(number "$SCRATCH/out.json" extract_seconds)" -v p="$(number "$SCRATCH/out.json" prepare_seconds)" \
            -v s="$(number "$SCRATCH/out.json" start_seconds)" -v r="$(number "$SCRATCH/out.json" replay_seconds)" 'BEGIN {
            printf "| %s | %.0f MB | %.0f MB | %.1f s | %.1f s | %.1f s | %.1f s | %.1f s |", f, base / 1e6, b / 1e6, w, e, p, r, s }')")
    done
    rm -rf "$SCRATCH"
done

echo '| flavor | binary log, transactions | Backstay | against | ratio | to reach | reached | peak memory | relay logs on the disk at most |'
echo '|---|---|---|---|---|---|---|---|---|'
printf '%s\n' "${ROW[@]}"
echo
echo '| flavor | data | replayed | whole restore | fetch and extract | prepare | replay | start and prove |'
echo '|---|---|---|---|---|---|---|---|'
printf '%s\n' "${LONG[@]}"
