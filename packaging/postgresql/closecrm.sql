-- The program's role and database, made once, on the primary, as postgres:
--     psql -v password=CHANGE-closecrm -f closecrm.sql
-- Of its own, for whoever may read it reads customer data, and keys.
CREATE ROLE closecrm LOGIN PASSWORD :'password';
CREATE DATABASE closecrm OWNER closecrm;
REVOKE ALL ON DATABASE closecrm FROM PUBLIC;
