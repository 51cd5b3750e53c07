#!/usr/bin/env bash
# Full backups against increments, taken in turns of the same MariaDB between bursts of writes, and
# restored from both: bytes, seconds, equal checksums. Tables in Markdown on standard output;
# progress on standard error.
#
#   benches/incremental.sh [ROUNDS]     6 rounds unless said: a chain of one full and six increments
#
# BACKSTAY_BENCH_SCRATCH  the servers' files               [/dev/shm/backstay-incremental]
# BACKSTAY_BIN            the program                      [target/release/backstay]
# BENCH_TABLES, BENCH_ROWS  sysbench's tables              [4, 1000000]
# BENCH_EVENTS            transactions between two rounds  [5000]
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS=${1:-6}
EVENTS=${BENCH_EVENTS:-5000}
export BENCH_TABLES=${BENCH_TABLES:-4}
SCRATCH=${BACKSTAY_BENCH_SCRATCH:-/dev/shm/backstay-incremental}
BACKSTAY=${BACKSTAY_BIN:-$PWD/target/release/backstay}
# shellcheck source=benches/dataset.sh
source benches/dataset.sh

say() { echo "$*" >&2; }
for program in sysbench mariadbd mariadb mariadb-backup "$BACKSTAY"; do
    command -v "$program" > /dev/null || { say "$program is missing"; exit 1; }
done
stop() {
    local code=$?
    [ $code = 0 ] || say "ended with $code"
    server_stop
    rm -rf "$SCRATCH"
}
trap stop EXIT
rm -rf "$SCRATCH"
mkdir -p "$SCRATCH"

number() { sed -n 's/^.*"'"$2"'": *"\{0,1\}\([^",]*\).*/\1/p' "$1" | head -n 1; }
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'; }
median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
sums() { # SOCKET
    local tables
    tables=$(seq "$TABLES" | sed 's/^/sbtest.sbtest/' | paste -sd,)
    mariadb --no-defaults --socket="$1" --user=root -N -e "CHECKSUM TABLE $tables"
}
# backstay REPOSITORY OUT COMMAND...: leaves TOOK.
backstay() {
    local repo=$1 out=$2 begun=$EPOCHREALTIME
    shift 2
    BACKSTAY_REPO=file://$SCRATCH/$repo "$BACKSTAY" "$@" --format json > "$out" 2> "$out.log" ||
        { cat "$out" "$out.log" >&2; exit 1; }
    TOOK=$(seconds_since "$begun")
}
restored() { # REPOSITORY ID: seconds; the tables must be those of the source.
    local folder=$SCRATCH/new
    rm -rf "$folder"
    mkdir -p "$folder"
    backstay "$1" "$SCRATCH/out" restore --backup "$2" --datadir "$folder/data" --owner "$(id -un)"
    server_start "$folder" --skip-log-bin
    sums "$folder/s" | cmp - "$SCRATCH/sums" >&2 || { say "$1: other checksums"; exit 1; }
    server_stop
    rm -rf "$folder"
}

SOURCE=$SCRATCH/source
say "the data set: $TABLES tables of $ROWS rows"
build "$SOURCE"
server_start "$SOURCE" --innodb-buffer-pool-size=1G
SOURCE_SERVER=$SERVER
export BACKSTAY_CLUSTER=bench BACKSTAY_KEK=file:$SCRATCH/kek BACKSTAY_MYSQL_SOCKET=$SOURCE/s BACKSTAY_MYSQL_USER=root
"$BACKSTAY" keys new > "$SCRATCH/keys"
data=$(du -sb "$SOURCE/data" --exclude='bin.*' | cut -f1)
backstay chain "$SCRATCH/out" backup --id i0 --incremental --chain-length 1000
for round in $(seq "$ROUNDS"); do
    sysbench /usr/share/sysbench/oltp_write_only.lua --db-driver=mysql --mysql-socket="$SOURCE/s" --mysql-user=root \
        --tables="$TABLES" --table-size="$ROWS" --threads=4 --events="$EVENTS" --time=0 run > "$SCRATCH/sysbench.log"
    # The same engine reads the same pages: neither has the advantage of a warmer cache twice in a row.
    turns=(full chain)
    [ $((round % 2)) = 0 ] || turns=(chain full)
    for turn in "${turns[@]}"; do
        if [ "$turn" = full ]; then backstay full "$SCRATCH/out" backup --id "f$round"
        else backstay chain "$SCRATCH/out" backup --id "i$round" --incremental --chain-length 1000; fi
        [ "$turn" = full ] || [ "$(number "$SCRATCH/out" base)" = "i$((round - 1))" ] || { say 'not an increment'; cat "$SCRATCH/out" >&2; exit 1; }
        echo "$TOOK" >> "$SCRATCH/$turn.s"
        number "$SCRATCH/out" bytes_read >> "$SCRATCH/$turn.read"
        number "$SCRATCH/out" bytes_stored >> "$SCRATCH/$turn.stored"
        say "  round $round, $turn: $TOOK s"
    done
done
sums "$SOURCE/s" > "$SCRATCH/sums"
SERVER=$SOURCE_SERVER
server_stop
for _ in 1 2 3; do
    restored full "f$ROUNDS"
    echo "$TOOK" >> "$SCRATCH/full.back"
    restored chain "i$ROUNDS"
    echo "$TOOK" >> "$SCRATCH/chain.back"
done

row() { # NAME TURN LINKS
    awk -v name="$1" -v links="$3" -v s="$(median < "$SCRATCH/$2.s")" -v r="$(median < "$SCRATCH/$2.read")" \
        -v st="$(median < "$SCRATCH/$2.stored")" -v b="$(median < "$SCRATCH/$2.back")" 'BEGIN {
        printf "| %s | %.1f s | %.1f MB | %.1f MB | %d | %.1f s |\n", name, s, r / 1e6, st / 1e6, links, b }'
}
ratio() { awk -v a="$(median < "$SCRATCH/$1")" -v b="$(median < "$SCRATCH/$2")" 'BEGIN { printf "%.2f", a / b }'; }
awk -v d="$data" -v e="$EVENTS" 'BEGIN { printf "| %.0f MB of data, %d transactions between two | time | read from the engine | stored | links restored | restore, proven |\n", d / 1e6, e }'
echo '|---|---|---|---|---|---|'
row full full 1
row increment chain "$((ROUNDS + 1))"
echo "| full : increment | $(ratio full.s chain.s) | $(ratio full.read chain.read) | $(ratio full.stored chain.stored) | | $(ratio full.back chain.back) |"
