DELETE FROM scribe_log WHERE step = '0004_table';
DROP TABLE scribe_table4;
