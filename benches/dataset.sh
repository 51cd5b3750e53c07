#!/usr/bin/env bash
# A MariaDB data directory of about 2.4 GB (sysbench's oltp tables), built once and kept in $1;
# a finished one is left as it is. Sourced, it offers `server_start` and `server_stop` as well.
set -euo pipefail

TABLES=${BENCH_TABLES:-10}
ROWS=${BENCH_ROWS:-1000000}

# server_start FOLDER [OPTION...]: starts MariaDB on FOLDER/data; its socket is FOLDER/s.
server_start() {
    local folder=$1
    shift
    mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" --socket="$folder/s" \
        --pid-file="$folder/pid" --skip-networking --log-bin=bin --server-id=11 \
        --innodb-buffer-pool-size=256M --innodb-log-file-size=256M "$@" \
        > "$folder/server.log" 2>&1 &
    SERVER=$!
    local tries=0
    until mariadb --no-defaults --socket="$folder/s" --user=root -e 'SELECT 1' > /dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! kill -0 "$SERVER" 2> /dev/null; then
            echo "MariaDB did not start; its last lines:" >&2
            tail -n 20 "$folder/server.log" >&2
            return 1
        fi
        sleep 0.2
    done
}

server_stop() {
    [ -n "${SERVER:-}" ] || return 0
    kill -TERM "$SERVER" 2> /dev/null || true
    wait "$SERVER" 2> /dev/null || true
    SERVER=
}

# build FOLDER: the data set, made beside its place and moved there when it is whole.
build() {
    local folder=$1 lua=/usr/share/sysbench/oltp_read_write.lua
    [ -e "$folder/ready-$TABLES-$ROWS" ] && return 0
    rm -rf "$folder"
    mkdir -p "$folder"
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$folder/data" \
        --auth-root-authentication-method=normal --skip-test-db > "$folder/install.log"
    server_start "$folder" --innodb-flush-log-at-trx-commit=0 --skip-log-bin --innodb-doublewrite=0
    mariadb --no-defaults --socket="$folder/s" --user=root -e 'CREATE DATABASE sbtest'
    sysbench "$lua" --db-driver=mysql --mysql-socket="$folder/s" --mysql-user=root \
        --tables="$TABLES" --table-size="$ROWS" --threads=2 prepare > "$folder/sysbench.log"
    server_stop
    # Once more with a binary log, so that backups have a position.
    server_start "$folder"
    mariadb --no-defaults --socket="$folder/s" --user=root \
        -e 'CREATE TABLE sbtest.mark (id INT PRIMARY KEY); INSERT INTO sbtest.mark VALUES (1)'
    server_stop
    touch "$folder/ready-$TABLES-$ROWS"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    trap server_stop EXIT
    build "${1:?usage: benches/dataset.sh FOLDER}"
fi
