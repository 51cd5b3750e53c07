#!/usr/bin/env bash
# What each command asks of the object store: MinIO's own count of requests, for real runs over a MariaDB with
# rows that do not compress. A table in Markdown on standard output; it is in docs/capacity.md.
#
#   benches/requests.sh [MEGABYTES…]    64 and 512 unless said: what the database holds
#
# BACKSTAY_TOOLS          folder with bin/minio                   [.tools]
# BACKSTAY_BENCH_SCRATCH  the server's and the store's files      [/dev/shm/backstay-requests]
# BACKSTAY_BIN            the program                             [target/release/backstay]
set -euo pipefail
cd "$(dirname "$0")/.."

SIZES=("${@:-64}")
[ $# -gt 0 ] || SIZES=(64 512)
TOOLS=${BACKSTAY_TOOLS:-$PWD/.tools}
SCRATCH=${BACKSTAY_BENCH_SCRATCH:-/dev/shm/backstay-requests}
BACKSTAY=${BACKSTAY_BIN:-$PWD/target/release/backstay}
PORT=${BENCH_PORT:-19743}

say() { echo "$*" >&2; }
for program in mariadbd mariadb-backup curl "$TOOLS/bin/minio" "$BACKSTAY"; do
    command -v "$program" > /dev/null || { say "$program is missing"; exit 1; }
done

# shellcheck source=benches/dataset.sh
source benches/dataset.sh
MINIO=
stop() {
    server_stop
    [ -z "$MINIO" ] || kill "$MINIO" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$SCRATCH"
}
trap stop EXIT
rm -rf "$SCRATCH"
mkdir -p "$SCRATCH/minio/backups"
MINIO_ROOT_USER=benchbench MINIO_ROOT_PASSWORD=bench-secret-bench MINIO_BROWSER=off MINIO_UPDATE=off HOME=$SCRATCH \
    MINIO_PROMETHEUS_AUTH_TYPE=public \
    "$TOOLS/bin/minio" server --quiet --address "127.0.0.1:$PORT" "$SCRATCH/minio" > "$SCRATCH/minio.log" 2>&1 &
MINIO=$!
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$SCRATCH/data" \
    --auth-root-authentication-method=normal --skip-test-db > "$SCRATCH/install.log"
server_start "$SCRATCH"

export AWS_ACCESS_KEY_ID=benchbench AWS_SECRET_ACCESS_KEY=bench-secret-bench AWS_REGION=us-east-1
unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN
export BACKSTAY_REPO=s3://backups/b BACKSTAY_STORE_ENDPOINT=http://127.0.0.1:$PORT BACKSTAY_KEK=file:$SCRATCH/kek
export BACKSTAY_CLUSTER=bench
LOGIN=(--mysql-socket "$SCRATCH/s" --mysql-user root)
"$BACKSTAY" keys new > /dev/null

sql() { mariadb --no-defaults --socket="$SCRATCH/s" --user=root -N -e "$1"; }
counts() { # by name, sorted
    # The server tells its counts as of a second ago.
    sleep 2
    curl -s --noproxy '*' "http://127.0.0.1:$PORT/minio/metrics/v3/api/requests" |
        sed -n 's/^minio_api_requests_total{name="\([A-Za-z0-9]*\)".*} \([0-9]*\)$/\1 \2/p' | sort
}
bytes() { du -sb "$SCRATCH/minio/backups" | cut -f1; }
row() { # NAME COMMAND…
    local name=$1 before stored
    shift
    before=$(counts) stored=$(bytes)
    say "$name"
    "$@" > "$SCRATCH/out" 2> "$SCRATCH/err" || { say "$name failed:"; tail -n 5 "$SCRATCH/err" >&2; exit 1; }
    stored=$(($(bytes) - stored))
    join -a 2 <(echo "$before") <(counts) | awk -v name="$name" -v stored="$stored" '
        { now = NF == 3 ? $3 - $2 : $2 }
        /^(PutObject|NewMultipartUpload|PutObjectPart|CompleteMultipartUpload) / { put += now }
        /^List/ { list += now }
        /^(GetObject|HeadObject|HeadBucket) / { get += now }
        now { all = all sprintf("%s%s %d", all ? ", " : "", $1, now); total += now }
        END { printf "| %s | %d | %d | %d | %d | %.1f MB | %s |\n", name, put, get, list, total, stored / 1e6, all }'
}
load() { # SECONDS: twenty small commits a second
    local n
    for ((n = 0; n < $1 * 20; n++)); do
        echo 'INSERT INTO big.small (v) VALUES (RANDOM_BYTES(200));'
        sleep 0.045
    done | mariadb --no-defaults --socket="$SCRATCH/s" --user=root
}
archive_for() { # SECONDS LOAD: the archiver, followed for so long
    "$BACKSTAY" archive "${LOGIN[@]}" 2> "$SCRATCH/archive.err" &
    local archiver=$!
    until grep -q '"to":"\(idle\|following\)"' "$SCRATCH/archive.err"; do sleep 0.2; done
    if [ "$2" = load ]; then load "$1"; else sleep "$1"; fi
    kill -TERM "$archiver"
    wait "$archiver" || [ $? = 9 ]
}

echo '| what | requests that write | that read | that list | all | stored | by their names |'
echo '|---|---|---|---|---|---|---|'
sql 'CREATE DATABASE big; CREATE TABLE big.small (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BLOB)'
for size in "${SIZES[@]}"; do
    export BACKSTAY_CLUSTER=bench-$size
    sql "SET max_recursive_iterations = 100000000; DROP TABLE IF EXISTS big.t; RESET MASTER;
        CREATE TABLE big.t (id BIGINT PRIMARY KEY, v VARBINARY(1024));
        INSERT INTO big.t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < $((size * 1000)))
        SELECT i, RANDOM_BYTES(1000) FROM n; FLUSH BINARY LOGS"
    row "the first backup, $size MB" "$BACKSTAY" backup "${LOGIN[@]}" --id first
    row "the next backup, $size MB" "$BACKSTAY" backup "${LOGIN[@]}" --id next
    row 'the same id again' "$BACKSTAY" backup "${LOGIN[@]}" --id next
    row "verify both" "$BACKSTAY" verify
    row "verify --quick both" "$BACKSTAY" verify --quick
    row "restore one, $size MB" "$BACKSTAY" restore --backup next --datadir "$SCRATCH/restored-$size"
    rm -rf "$SCRATCH/restored-$size"
    row "archive --until-current, $size MB of binary log" "$BACKSTAY" archive "${LOGIN[@]}" --until-current
done
row 'list' "$BACKSTAY" list
row 'window' "$BACKSTAY" window
row 'archive for 30 s, idle' archive_for 30 idle
row 'archive for 30 s, 20 commits a second' archive_for 30 load
