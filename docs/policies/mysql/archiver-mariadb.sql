-- The login of the archiver on MariaDB 10.5 and later. It reads all changes, and no table.
CREATE USER archiver@'%' IDENTIFIED BY '…' REQUIRE SSL;
GRANT REPLICATION SLAVE, BINLOG MONITOR, REPLICA MONITOR ON *.* TO archiver@'%';
-- Only with --purge-archived:
-- GRANT BINLOG ADMIN ON *.* TO archiver@'%';
