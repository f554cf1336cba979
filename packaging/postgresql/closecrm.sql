-- The program's role and database, made once, on the primary, as postgres:
--     psql -v password=CHANGE-closecrm -f closecrm.sql
-- Of its own, for whoever may read it reads customer data, and keys.
CREATE ROLE closecrm LOGIN PASSWORD :'password';
-- So that `closecrm.fcgi check` can say whether a standby is there.
GRANT pg_read_all_stats TO closecrm;
CREATE DATABASE closecrm OWNER closecrm;
REVOKE ALL ON DATABASE closecrm FROM PUBLIC;
