-- The login of backup jobs on MariaDB 10.5 and later: mariadb-backup.
-- Before 10.5 BINLOG MONITOR and REPLICA MONITOR are one privilege: REPLICATION CLIENT.
CREATE USER backup@localhost IDENTIFIED BY '…';
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.* TO backup@localhost;
