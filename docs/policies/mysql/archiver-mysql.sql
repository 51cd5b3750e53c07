-- The login of the archiver on MySQL 8.0 and later. It reads all changes, and no table.
CREATE USER archiver@'%' IDENTIFIED BY '…' REQUIRE SSL;
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO archiver@'%';
-- Only with --purge-archived:
-- GRANT BINLOG_ADMIN ON *.* TO archiver@'%';
