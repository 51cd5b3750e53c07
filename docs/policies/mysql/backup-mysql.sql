-- The login of backup jobs on MySQL 8.0 and later: XtraBackup, or the clone plugin.
CREATE USER backup@localhost IDENTIFIED BY '…';
-- SELECT: whoever cannot see the tables outside InnoDB would skip the lock that they need.
-- REPLICATION SLAVE: to derive the exact GTID set from the server's own binary log; not needed by a clone.
GRANT SELECT, RELOAD, PROCESS, LOCK TABLES, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO backup@localhost;
GRANT BACKUP_ADMIN ON *.* TO backup@localhost;
